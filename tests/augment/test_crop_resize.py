"""Expected values: golden files, the loops in tests/reference/augment.py, and limits worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.crop_resize import crop_and_resize, crop_limits, random_crop_and_resize
from fewslice.core.errors import ConfigError
from tests.golden_files import golden_param
from tests.reference import augment as reference


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "crop_[!o]*.npz"))
def test_golden(path):
    data = np.load(path)
    images = data["img_u8_div128"].astype(np.float32) / 128
    box = int(data["box_dim_x"]), int(data["box_dim_y"])
    out = crop_and_resize(images, data["x0"], data["y0"], box=box)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, data["out"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 24), (24, 31), (33, 20)])
@pytest.mark.parametrize("box", [(9, 9), (12, 5), (40, 40)])
def test_same_as_loops(shape, box):
    rng = np.random.default_rng(0)
    images = rng.random((3, *shape, 1), dtype=np.float32)
    rows, columns = rng.integers(0, shape[0] - 2, 3), rng.integers(0, shape[1] - 2, 3)
    out = crop_and_resize(images, rows, columns, box=box)
    for index in range(3):
        expected = reference.crop_and_resize(images[index, :, :, 0], rows[index], columns[index], box)
        np.testing.assert_allclose(out[index, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "side, expected",
    [(192, (100, 10, 70)), (160, (100, 10, 70)), (256, (100, 10, 70)), (96, (50, 5, 35)), (64, (33, 3, 23))],
)
def test_limits(side, expected):
    assert crop_limits(side) == expected


@pytest.mark.parametrize("side", [32, 48, 64, 96, 128, 159, 160, 192, 224])
def test_every_size_works_and_stays_in_range(side):
    images = np.random.default_rng(0).random((4, side, side, 1), dtype=np.float32)
    out = random_crop_and_resize(np.random.default_rng(1), images)
    assert out.shape == images.shape
    assert images.min() - 1e-6 <= out.min() and out.max() <= images.max() + 1e-6


def test_box_holds_for_both_axes():
    """Ramps along the rows and the columns show how many of each a crop has."""
    ramp = np.broadcast_to(np.arange(192, dtype=np.float32), (192, 192))
    out = random_crop_and_resize(np.random.default_rng(0), np.stack([ramp, ramp.T])[..., None], box=60)
    assert np.ptp(out, axis=(1, 2, 3)).round().tolist() == [59, 59]


@pytest.mark.parametrize("side, box", [(192, 1), (96, 2), (1, 100)])
def test_limits_that_do_not_fit(side, box):
    with pytest.raises(ConfigError, match="a box of at least 2 px and a range of starts"):
        crop_limits(side, box=box)
