"""Expected values: golden files, the loops in tests/reference/augment.py, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.elastic import draw_grids, enlarge_grids, warp_pairs
from fewslice.augment.segmentation import one_hot
from tests.golden_files import golden_param
from tests.reference import augment as reference


def deform(rng, images, onehot, sigma):
    """Deforms rows as a training batch does."""
    fields = enlarge_grids(draw_grids(rng, len(images), sigma=sigma), images.shape[1:3])
    return warp_pairs(images, onehot, fields)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "deform_field_*.npz"))
def test_golden_field(path):
    data = np.load(path)
    fields = enlarge_grids(data["grids"], data["flow"].shape[1:3])
    np.testing.assert_allclose(np.moveaxis(fields, 1, -1), data["flow"], rtol=0, atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "dense_image_warp*.npz"))
def test_golden_warp(path):
    data = np.load(path)
    images = data["img_u8_div128"].astype(np.float32) / 128
    onehot = one_hot(data["label"], data["warped_onehot"].shape[-1])
    fields = np.moveaxis(data["flow"], -1, 1)
    warped, warped_onehot = warp_pairs(images, onehot, fields)
    np.testing.assert_allclose(warped, data["warped"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(warped_onehot, data["warped_onehot"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (15, 22)])
@pytest.mark.parametrize("size", [3, 5])
def test_field_same_as_loops(shape, size):
    grids = np.random.default_rng(0).normal(0, 5, (2, 2, size, size))
    fields = enlarge_grids(grids, shape)
    assert fields.dtype == np.float32
    for index in np.ndindex(2, 2):
        np.testing.assert_allclose(fields[index], reference.enlarge_grid(grids[index], shape), atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
def test_warp_same_as_loops(shape):
    rng = np.random.default_rng(0)
    image = rng.random((1, *shape, 1), dtype=np.float32)
    maps = rng.random((1, *shape, 3), dtype=np.float32)
    field = rng.normal(0, 4, (2, *shape)).astype(np.float32)
    out_image, out = warp_pairs(image, maps, field[np.newaxis])
    np.testing.assert_allclose(out_image[0, ..., 0], reference.warp(image[0, ..., 0], field), atol=1e-5)
    for channel in range(3):
        np.testing.assert_allclose(out[0, ..., channel], reference.warp(maps[0, ..., channel], field), atol=1e-5)


def test_warp_by_whole_pixels():
    """Displacement (1, 0) takes each pixel from the row above; outside, the first row is repeated."""
    maps = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    fields = np.zeros((1, 2, 3, 3), np.float32)
    fields[0, 0] = 1
    for out in warp_pairs(maps, maps, fields):
        assert out[0, ..., 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]


def test_channels_move_alike():
    rng = np.random.default_rng(0)
    images, maps = rng.random((2, 8, 6, 3), np.float32), rng.random((2, 8, 6, 2), np.float32)
    fields = rng.normal(0, 2, (2, 2, 8, 6)).astype(np.float32)
    for channel in range(3):
        alone = warp_pairs(images[..., [channel]], maps, fields)[0]
        np.testing.assert_array_equal(warp_pairs(images, maps, fields)[0][..., [channel]], alone)


def test_zero_deformation_is_the_identity():
    rng = np.random.default_rng(0)
    images = rng.random((3, 20, 20, 1), dtype=np.float32)
    onehot = one_hot(rng.integers(0, 4, (3, 20, 20)), 4)
    out, out_onehot = deform(rng, images, onehot, sigma=0.0)
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal(out_onehot, onehot)


def test_labels_stay_a_distribution_and_images_in_range():
    rng = np.random.default_rng(0)
    images = rng.random((4, 32, 32, 1), dtype=np.float32)
    onehot = one_hot(rng.integers(0, 5, (4, 32, 32)), 5)
    out, out_onehot = deform(rng, images, onehot, sigma=8.0)
    assert out_onehot.min() >= 0
    np.testing.assert_allclose(out_onehot.sum(-1), 1, atol=1e-6)
    assert images.min() <= out.min() and out.max() <= images.max() + 1e-6
    assert ((out_onehot > 0) & (out_onehot < 1)).any()


def test_grids_have_the_standard_deviation_asked_for():
    grids = draw_grids(np.random.default_rng(0), 500, sigma=5.0)
    assert grids.shape == (500, 2, 3, 3) and grids.dtype == np.float32
    assert grids.std() == pytest.approx(5, rel=0.05)
