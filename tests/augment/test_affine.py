"""Expected values: golden files, the loops in tests/reference/augment.py, and cases worked out by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fewslice.augment.affine import mirror, random_affine, rotate, scale
from tests.golden_files import golden_param
from tests.reference import augment as reference


def _apply(name, image, label):
    """Runs the operation that a key of the golden file names."""
    if name == "none" or name == "flip_coin1":
        return image, label
    if name == "flip_coin0":
        return mirror(image, label)
    kind, value = re.fullmatch(r"(rot|scale|simplerot)([-+.\d]+)(?:_noAA)?", name).groups()
    return scale(image, label, float(value)) if kind == "scale" else rotate(image, label, float(value))


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "affine_aug*.npz"))
def test_golden(path):
    """Ties between two nearest labels are rounding accidents: the golden README allows a few of them."""
    data = np.load(path)
    images = data["img_u8_div128"].astype(np.float32) / 128
    names = [key.removeprefix("img_") for key in data if key.startswith("img_") and key != "img_u8_div128"]
    assert names
    for name in names:
        for index in range(len(images)):
            image, label = _apply(name, images[index, :, :, 0], data["label"][index])
            expected = data[f"img_{name}"][index, :, :, 0]
            np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6, err_msg=name)
            allowed = 0.005 if name.startswith("scale") else 0.002 if name.startswith("simplerot") else 0.0
            assert np.mean(label != data[f"lab_{name}"][index]) <= allowed, name
            assert label.dtype == data["label"].dtype


def _pair(shape=(20, 20), seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(shape, dtype=np.float32), rng.integers(0, 4, shape).astype(np.uint8)


@pytest.mark.parametrize("degrees", [7.3, -15.0, 33.0, 91.0])
@pytest.mark.parametrize("shape", [(20, 20), (17, 22)])
def test_rotation_same_as_loops(degrees, shape):
    image, label = _pair(shape)
    out, out_label = rotate(image, label, degrees)
    expected, expected_label = reference.rotate(image, label, degrees)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_array_equal(out_label, expected_label)


@pytest.mark.parametrize("factor", [0.95, 0.97, 1.0, 1.03, 1.05, 0.8, 1.3])
@pytest.mark.parametrize("shape", [(40, 40), (37, 46)])
def test_scaling_same_as_loops(factor, shape):
    image, label = _pair(shape)
    out, out_label = scale(image, label, factor)
    expected, expected_label = reference.scale(image, label, factor)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert np.mean(out_label != expected_label) <= 0.005


@pytest.mark.parametrize("turns", range(-2, 6))
def test_right_angles_are_exact(turns):
    """Positive angles turn counter-clockwise, as numpy.rot90 does."""
    image, label = _pair()
    out, out_label = rotate(image, label, 90 * turns)
    np.testing.assert_array_equal(out, np.rot90(image, turns))
    np.testing.assert_array_equal(out_label, np.rot90(label, turns))


def test_identities():
    image, label = _pair()
    for out, out_label in (rotate(image, label, 0), scale(image, label, 1.0)):
        np.testing.assert_array_equal(out, image)
        np.testing.assert_array_equal(out_label, label)


def test_mirror():
    image, label = mirror(np.array([[1.0, 2.0]], np.float32), np.array([[3, 4]], np.uint8))
    assert image.tolist() == [[2.0, 1.0]] and label.tolist() == [[4, 3]]


def _batch(count=200, side=16):
    rng = np.random.default_rng(0)
    images = rng.uniform(0.1, 1, (count, side, side, 1)).astype(np.float32)
    return images, rng.integers(0, 4, (count, side, side)).astype(np.uint8)


def test_labels_keep_their_values_and_dtype():
    images, labels = _batch()
    labels[labels == 2] = 7
    out, out_labels = random_affine(np.random.default_rng(0), images, labels)
    assert out.dtype == np.float32 and out_labels.dtype == np.uint8
    assert set(np.unique(out_labels)) <= {0, 1, 3, 7}
    assert out.min() >= 0 and out.max() <= images.max() + 1e-6


def test_share_of_untouched_images():
    """1/5 nothing + 1/10 mirroring not done + 1/40 rotation by 0 + 1/5 * 1/10 scaling by 1.00 = 0.345."""
    images, labels = _batch(2000, 12)
    out, _ = random_affine(np.random.default_rng(1), images, labels)
    share = np.mean((out == images).all(axis=(1, 2, 3)))
    # Sides of 12 px stay 12 for 0.96 to 1.04, that is for scalings drawn from (0.955, 1.045): 0.2 * 0.9.
    assert share == pytest.approx(0.2 + 0.1 + 0.025 + 0.2 * 0.9, abs=0.035)


def test_blank_images_stay_blank():
    images, labels = _batch(20)
    images[:] = 0.001
    out, out_labels = random_affine(np.random.default_rng(0), images, labels)
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal(out_labels, labels)
