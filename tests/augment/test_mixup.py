"""Mixup. Expected values: golden files and hand cases."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.mixup import mix_pairs, random_mixup
from tests.golden_files import golden_param


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "mixup*.npz"))
def test_golden_mixup(path):
    """The input is not stored: images count up from 0, and each pixel's class is its number modulo K."""
    data = np.load(path)
    shape, classes = data["x_out"].shape, data["y_out"].shape[-1]
    count = np.arange(np.prod(shape)).reshape(shape)
    images = count.astype(data["x_out"].dtype)
    onehot = np.eye(classes)[count[..., 0] % classes].astype(data["y_out"].dtype)
    mixed, mixed_onehot = mix_pairs(images, onehot, weights=data["lam"], pairs=data["idx"])
    np.testing.assert_allclose(mixed, data["x_out"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mixed_onehot, data["y_out"], rtol=1e-12, atol=1e-12)


def test_mixup_properties():
    rng = np.random.default_rng(0)
    images = rng.random((8, 5, 5, 1), dtype=np.float32)
    onehot = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (8, 5, 5))]
    mixed, mixed_onehot = random_mixup(np.random.default_rng(1), images, onehot=onehot, alpha=0.4)
    assert mixed.dtype == np.float32 and mixed.shape == images.shape
    np.testing.assert_allclose(mixed_onehot.sum(-1), 1, atol=1e-6)


def test_mixup_refuses_integer_labels():
    images = np.zeros((2, 3, 3, 1), np.float32)
    with pytest.raises(TypeError, match="`onehot` must be floating point"):
        random_mixup(np.random.default_rng(0), images, onehot=np.zeros((2, 3, 3, 2), np.uint8))
