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


@pytest.mark.parametrize("shape", [(20, 20), (37, 46)])
@pytest.mark.parametrize(
    "function, amount",
    [(rotate, degrees) for degrees in (7.3, -15.0, 33.0, 91.0)]
    + [(scale, factor) for factor in (0.95, 0.97, 1.0, 1.03, 1.05, 0.8, 1.3)],
)
def test_same_as_loops(function, amount, shape):
    image, label = _pair(shape)
    out, out_label = function(image, label, amount)
    expected, expected_label = getattr(reference, function.__name__)(image, label, amount)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert np.mean(out_label != expected_label) <= (0.005 if function is scale else 0)


@pytest.mark.parametrize("turns", range(-2, 6))
def test_right_angles_are_exact(turns):
    """Positive angles turn counter-clockwise, as numpy.rot90 does."""
    image, label = _pair()
    out, out_label = rotate(image, label, 90 * turns)
    np.testing.assert_array_equal(out, np.rot90(image, turns))
    np.testing.assert_array_equal(out_label, np.rot90(label, turns))


def test_mirror():
    image, label = mirror(np.array([[1.0, 2.0]], np.float32), np.array([[3, 4]], np.uint8))
    assert image.tolist() == [[2.0, 1.0]] and label.tolist() == [[4, 3]]


def test_law_of_the_random_operation():
    """1/5 nothing + 1/10 mirroring not done + 1/40 rotation by 0 + 1/5 * 1/10 scaling by 1.00 = 0.345."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0.1, 1, (2000, 12, 12, 1)).astype(np.float32)
    labels = rng.integers(0, 4, (2000, 12, 12)).astype(np.uint8)
    images[:20] = 0.001  # blank images stay as they are
    labels[labels == 2] = 7  # labels keep their values and dtype
    out, out_labels = random_affine(np.random.default_rng(1), images, labels)
    np.testing.assert_array_equal(out[:20], images[:20])
    np.testing.assert_array_equal(out_labels[:20], labels[:20])
    assert out.dtype == np.float32 and out.min() >= 0 and out.max() <= images.max() + 1e-6
    assert out_labels.dtype == np.uint8 and set(np.unique(out_labels)) <= {0, 1, 3, 7}
    share = np.mean((out == images)[20:].all(axis=(1, 2, 3)))
    # Sides of 12 px stay 12 for 0.96 to 1.04, that is for scalings drawn from (0.955, 1.045): 0.2 * 0.9.
    assert share == pytest.approx(0.2 + 0.1 + 0.025 + 0.2 * 0.9, abs=0.035)
