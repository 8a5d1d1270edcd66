"""Expected values: cases worked out by hand, NumPy's own turns and flips, and the bounds that the docstrings give."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment import standard
from fewslice.augment.standard import TRANSFORMS, augment
from fewslice.core.errors import ConfigError

INTENSITY = TRANSFORMS.names()


def batch(*space, count=3, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.2, 1, (count, *space, channels)).astype(np.float32)
    return images, rng.integers(0, 4, (count, *space)).astype(np.int32)


def always(monkeypatch):
    monkeypatch.setattr(standard, "SPATIAL_PROBABILITY", 1.0)
    monkeypatch.setattr(standard, "MIRROR_PROBABILITY", 1.0)
    for name in INTENSITY:
        monkeypatch.setattr(TRANSFORMS.get(name), "probability", 1.0)


def test_no_transform_changes_nothing():
    images, labels = batch(8, 9)
    out = augment(0, images, labels, names=())
    np.testing.assert_array_equal(out[0], images)
    np.testing.assert_array_equal(out[1], labels)


@pytest.mark.parametrize("space", [(6, 8), (4, 6, 8)])
def test_mirroring_reverses_all_axes_of_space(space, monkeypatch):
    always(monkeypatch)
    images, labels = batch(*space, channels=2)
    axes = tuple(range(1, len(space) + 1))
    out = augment(0, images, labels, names=("mirroring",))
    np.testing.assert_array_equal(out[0], np.flip(images, axes))
    np.testing.assert_array_equal(out[1], np.flip(labels, axes))


def test_a_quarter_turn_is_that_of_numpy(monkeypatch):
    always(monkeypatch)
    rng = np.random.default_rng(5)
    rng.random(2)  # whether to rotate and to scale
    monkeypatch.setattr(standard, "ROTATION_DEG", 90 / rng.uniform(-1, 1))
    images, labels = batch(7, 7, count=1)
    image, label = augment(np.random.default_rng(5), images, labels, names=("rotation",))
    np.testing.assert_array_equal(label[0], np.rot90(labels[0]))
    np.testing.assert_allclose(image[0], np.rot90(images[0]), atol=1e-5)


def test_scaling_enlarges_about_the_centre(monkeypatch):
    """Every pixel of a picture that is twice as large shows the one at half its distance from the centre."""
    always(monkeypatch)
    monkeypatch.setattr(standard, "SCALING", (2.0, 2.0))
    labels = np.arange(25, dtype=np.int32).reshape(1, 5, 5)
    images = labels[..., np.newaxis].astype(np.float32)
    image, label = augment(0, images, labels, names=("scaling",))
    np.testing.assert_allclose(image[0, 2, :, 0], [11, 11.5, 12, 12.5, 13], atol=1e-5)
    assert label[0, 2, 2] == 12 and label[0, 0, 0] == 6 and label[0, 4, 4] == 18


def test_pixels_from_outside_get_the_label_of_their_image(monkeypatch):
    always(monkeypatch)
    monkeypatch.setattr(standard, "SCALING", (0.5, 0.5))
    images, labels = batch(8, 8, count=2)
    image, label = augment(0, images, labels, names=("scaling",), label_fill=np.array([0, 4]))
    assert (label[0, 0] == 0).all() and (label[1, 0] == 4).all() and (image[:, 0] == 0).all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", INTENSITY)
def test_intensities_change_and_nothing_else(name, dims, monkeypatch):
    always(monkeypatch)
    images, labels = batch(*(12, 13, 14)[:dims], channels=2)
    before = images.copy()
    out, same = augment(1, images, labels, names=(name,))
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(same, labels)
    assert out.dtype == np.float32 and out.shape == images.shape and np.isfinite(out).all()
    assert (out != images).any()


@pytest.mark.parametrize("name", [name for name in INTENSITY if name != "bias_field"])
def test_a_constant_image_has_no_texture_afterwards(name):
    image = np.full((9, 10, 1), 0.5, np.float32)
    assert TRANSFORMS.get(name)(np.random.default_rng(0), image).std() < 1e-6


def test_gamma_keeps_mean_and_standard_deviation():
    image = batch(16, 16)[0][0]
    for name in ("gamma", "inverted_gamma"):
        out = TRANSFORMS.get(name)(np.random.default_rng(0), image)
        assert out.mean() == pytest.approx(image.mean(), abs=1e-5) and out.std() == pytest.approx(image.std(), abs=1e-5)
        np.testing.assert_array_equal(np.argsort(out, axis=None), np.argsort(image, axis=None))  # a rising curve


def test_bounds_of_noise_brightness_and_contrast():
    image, rng = batch(64, 64)[0][0], np.random.default_rng(0)
    for _ in range(20):
        added = TRANSFORMS.get("noise")(rng, image) - image
        assert added.std() < 1.1 * np.sqrt(0.1) * image.std()
        factor = TRANSFORMS.get("brightness")(rng, image) / image
        assert np.ptp(factor) < 1e-5 and 0.75 <= factor.mean() <= 1.25
        stretched = TRANSFORMS.get("contrast")(rng, image)
        assert image.min() <= stretched.min() and stretched.max() <= image.max()


def test_unknown_transforms_are_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean 'blur'"):
        augment(0, *batch(8, 8), names=("blurr",))
