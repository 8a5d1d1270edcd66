"""Expected values: cases worked out by hand and properties of the drawn boxes."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.cutmix import box_masks, cutmix_boxes, mix


def _extent(mask):
    """First and last row and column of the True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], rows[-1], columns[0], columns[-1]


def test_mask_by_hand():
    masks = box_masks((np.array([1, 0]), np.array([2, 0])), (np.array([2, 0]), np.array([1, 3])), (4, 3))
    assert masks[0].tolist() == [[False] * 3, [False, False, True], [False, False, True], [False] * 3]
    assert not masks[1].any()


class _Recorded:
    """A generator whose numbers are given."""

    def __init__(self, *rows):
        self.rows = np.array(rows, float)

    def random(self, shape):
        assert shape == self.rows.shape
        return self.rows


def test_box_by_hand():
    """Area 0.02 + 0.38 * u; ratio between max(0.3, area) and min(10/3, 1/area); place = u * (side - size + 1).

    Image 0: u = (0.08 / 0.38): area 0.1. Ratio 0.3 + u * (10/3 - 0.3) = 0.4: rows 100 sqrt(0.04) = 20, columns
    200 sqrt(0.25) = 100. First row 0.5 * 81 = 40, first column 0.999 * 101 = 100. Image 1 has no box (coin 0.5).
    """
    u = [[0.49, 0.5], [0.08 / 0.38, 0.3], [0.1 / (10 / 3 - 0.3), 0.5], [0.5, 0.5], [0.999, 0.5]]
    masks = cutmix_boxes(_Recorded(*u), (2, 100, 200))
    assert _extent(masks[0]) == (40, 59, 100, 199)
    assert masks[0].sum() == 20 * 100 and not masks[1].any()


@pytest.mark.parametrize("shape", [(96, 96), (60, 100)])
def test_areas_and_shapes(shape):
    height, width = shape
    masks = cutmix_boxes(np.random.default_rng(0), (4000, height, width))
    assert masks.shape == (4000, height, width) and masks.dtype == bool
    masks = masks[masks.any(axis=(1, 2))]
    assert len(masks) / 4000 == pytest.approx(0.5, abs=0.05)
    rows, columns = masks.any(axis=2).sum(axis=1), masks.any(axis=1).sum(axis=1)
    areas = masks.sum(axis=(1, 2))
    np.testing.assert_array_equal(areas, rows * columns)  # full rectangles
    share = areas / (height * width)
    rounding = 0.5 * (rows + columns + 1) / (height * width)
    assert (share >= 0.02 - rounding).all() and (share <= 0.4 + rounding).all()
    assert share.mean() == pytest.approx(0.21, abs=0.01)  # the middle of 0.02 and 0.4
    ratio = (rows / height) / (columns / width)
    assert 0.3 * 0.9 < ratio.min() < 0.4 and 2.7 < ratio.max() < 1.1 / 0.3


def test_boxes_reach_every_corner():
    masks = cutmix_boxes(np.random.default_rng(0), (6000, 24, 24))
    often = masks.mean(axis=0)
    assert often[[0, 0, -1, -1], [0, -1, 0, -1]].min() > 0.0015
    np.testing.assert_allclose(often, often[::-1, ::-1], atol=0.05)


def test_everything_is_mixed_with_the_same_mask():
    """Images whose intensity names image and pixel: labels, one-hot labels and confidences must tell the same."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (6, 20, 20)).astype(np.uint8)
    images = (labels + 10 * np.arange(6)[:, None, None]).astype(np.float32)[..., None]
    onehot = np.eye(4, dtype=np.float32)[labels]
    partners, boxes = rng.permutation(6), cutmix_boxes(rng, (6, 20, 20))
    mixed, mixed_labels, mixed_onehot = (mix(x, x[partners], boxes) for x in (images, labels, onehot))
    assert mixed.dtype == np.float32 and mixed_labels.dtype == np.uint8
    np.testing.assert_array_equal(mixed[..., 0] % 10, mixed_labels)
    np.testing.assert_array_equal(mixed_onehot.argmax(axis=-1), mixed_labels)
    origin = np.where(boxes, partners[:, None, None], np.arange(6)[:, None, None])
    np.testing.assert_array_equal(mixed[..., 0] // 10, origin)


def test_wrong_arguments():
    x = np.zeros((2, 4, 4), np.float32)
    for partner, mask in ((x[:1], x > 0), (x.astype(np.uint8), x > 0), (x, x), (x, x[:, :3] > 0)):
        with pytest.raises(ValueError, match="must have one shape and dtype"):
            mix(x, partner, mask)
