"""Expected values: cases worked out by hand, and the blur of tests/reference/augment.py."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.strong_view import StrongView, jitter, strong_view
from fewslice.core.errors import ConfigError
from tests.reference import augment as reference

OFF = {"jitter_probability": 0.0, "gamma_probability": 0.0, "blur_probability": 0.0}


def _images(count=6, side=24, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, (count, side, side, 1)).astype(np.float32)


def test_jitter_by_hand():
    """Brightness 2 makes (1, 3) to (2, 6) with mean 4; contrast 0.5 makes that (3, 5)."""
    images = np.array([[[[1.0], [3.0]]], [[[1.0], [3.0]]]], np.float32)
    out = jitter(images, np.array([2, 1]), np.array([0.5, 1]))
    np.testing.assert_allclose(out[..., 0], [[[3, 5]], [[1, 3]]])


def test_all_off_changes_nothing():
    images = _images()
    out = strong_view(np.random.default_rng(0), images, settings=StrongView(**OFF), clip=None)
    np.testing.assert_array_equal(out, images)


def test_gamma_is_a_power_within_its_range():
    images = _images()
    settings = StrongView(**{**OFF, "gamma_probability": 1.0})
    out = strong_view(np.random.default_rng(0), images, settings=settings)
    exponents = (np.log(out) / np.log(images))[images < 0.9].reshape(-1)
    assert exponents.min() > 0.7 - 1e-3 and exponents.max() < 1.5 + 1e-3
    per_image = np.log(out[:, 0, 0, 0]) / np.log(images[:, 0, 0, 0])
    np.testing.assert_allclose(out, images ** per_image[:, None, None, None], rtol=1e-4)
    assert len(np.unique(per_image.round(4))) == 6


def test_blur_same_as_loops():
    images = _images(2, 13)
    settings = StrongView(**{**OFF, "blur_probability": 1.0, "blur": (1.3, 1.3)})
    out = strong_view(np.random.default_rng(0), images, settings=settings)
    for image, blurred in zip(images, out, strict=True):
        np.testing.assert_allclose(blurred[..., 0], reference.gaussian_blur(image[..., 0], 1.3), atol=1e-5)


def test_shares_of_changed_images():
    images = _images(400, 6)
    for name, share in (("jitter_probability", 0.8), ("gamma_probability", 0.5), ("blur_probability", 0.5)):
        settings = StrongView(**{**OFF, name: share, "blur": (0.5, 2.0)})
        out = strong_view(np.random.default_rng(0), images, settings=settings)
        assert (out != images).any(axis=(1, 2, 3)).mean() == pytest.approx(share, abs=0.08)


def test_jitter_stays_within_its_limits():
    images = _images(300, 8)
    settings = StrongView(**{**OFF, "jitter_probability": 1.0})
    out = strong_view(np.random.default_rng(0), images, settings=settings, clip=None)
    brightness = out.mean(axis=(1, 2, 3)) / images.mean(axis=(1, 2, 3))
    contrast = out.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3)) / brightness
    for values in (brightness, contrast):
        assert 0.5 - 1e-3 < values.min() < 0.55 and 1.45 < values.max() < 1.5 + 1e-3
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.2


def test_range_function_of_the_generator_and_input_kept():
    images = _images()
    kept = images.copy()
    first = strong_view(np.random.default_rng(7), images)
    np.testing.assert_array_equal(first, strong_view(np.random.default_rng(7), images))
    assert (first != strong_view(np.random.default_rng(8), images)).any()
    np.testing.assert_array_equal(images, kept)
    assert first.dtype == np.float32 and first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 1.5 and np.isfinite(first).all()


def test_blank_and_negative_images_stay_finite():
    images = np.zeros((8, 8, 8, 1), np.float32)
    images[4:] = -0.3
    out = strong_view(np.random.default_rng(0), images)
    np.testing.assert_array_equal(out, np.zeros_like(images))


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"jitter_probability": 1.5}, "`jitter_probability` must lie in"),
        ({"brightness": 1.0}, "`brightness` must lie in"),
        ({"gamma": (2.0, 1.0)}, "`gamma` must be"),
        ({"blur": (-1.0, 1.0)}, "`blur` must be"),
    ],
)
def test_settings_out_of_range(kwargs, words):
    with pytest.raises(ConfigError, match=words):
        StrongView(**kwargs)
