"""The crop of a new dataset keeps the foreground. Expected values: by hand, and what the preparation itself keeps."""

from __future__ import annotations

import dataclasses
import re
import tracemalloc

import numpy as np
import pytest

from fewslice.data import preprocess
from fewslice.data.new_dataset.crop import crop_text, footprint, needed_side, share_lost
from fewslice.data.new_dataset.derive import Checked, derive
from fewslice.data.volume import Case
from tests.data.layouts import dataset


def volume(shape, boxes, spacing=(1.0, 1.0, 5.0), name="a"):
    """A volume whose foreground fills the (rows, columns) slices `boxes` in its first image."""
    label = np.zeros(shape, np.uint8)
    for rows, columns in boxes:
        label[rows, columns, 0] = 1
    where = footprint(label, spacing)
    case = Case(name, name, "", f"{name}.nii.gz", f"{name}_label.nii.gz")
    return Checked(case, shape, spacing, (0, 1) if boxes else (0,), where), label


def settings(*volumes):
    draft = dataclasses.replace(dataset("paired_folders"), num_classes=2, struct_name=("organ",))
    return derive(draft, volumes)


def small(name):
    return volume((60, 60, 2), [(slice(20, 40), slice(20, 40))], name=name)[0]


def test_one_large_field_of_view_enlarges_the_crop():
    """Two fields of 60 px want 64; foreground from row 10 of 200 needs 2 * 90 px, the next multiple of 32 is 192."""
    large, _ = volume((200, 60, 2), [(slice(10, 30), slice(20, 40))])
    config = settings(small("b"), small("c"), large)
    assert config.size == (192, 64)
    assert "No foreground lies outside the crop of 192 x 64 pixels in any of 1" in crop_text(
        config, {"a": large.footprint}
    )


@pytest.mark.parametrize(
    "shape, boxes, others, size",
    [
        ((200, 200, 2), [(slice(68, 132), slice(90, 110))], "bc", (64, 64)),  # rows 68 to 131 are the middle 64
        ((900, 900, 1), [], "bc", (64, 64)),
        ((512, 512, 2), [(slice(200, 300), slice(200, 300))], "", (320, 320)),
    ],
    ids=["central_foreground", "no_foreground", "median_above_the_limit"],
)
def test_size(shape, boxes, others, size):
    assert settings(*map(small, others), volume(shape, boxes)[0]).size == size


def test_beyond_the_limit_the_largest_share_is_told_with_the_remedy():
    """Of 40 rows of foreground 10 lie before the crop, which starts at row (400 - 320) / 2 = 40;
    a crop from row 30 on has 340 px, the next multiple of 32 is 352."""
    large, _ = volume((400, 60, 2), [(slice(30, 70), slice(20, 40))], name="p7")
    less, _ = volume((400, 60, 2), [(slice(39, 139), slice(20, 40))], name="p8")
    whole = [small(name) for name in "abc"]
    config = settings(*whole, large, less)
    assert config.size == (320, 64)
    text = crop_text(config, {item.case.case_id: item.footprint for item in (*whole, large, less)})
    assert "cuts off foreground in 2 of 5 labelled volumes, at most 25.00% of its voxels (in p7)" in text
    assert "in init_acdc.py set img_size_x = 352, img_size_y = 64" in text
    coarse = float(re.search(r"target_resolution = \(([\d.]+), 1\)", text)[1])
    assert coarse > 1 and needed_side(0, coarse, [large.footprint, less.footprint]) <= 320


@pytest.mark.parametrize("shape", [(75, 90), (64, 64), (33, 101), (90, 75)])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (64, 32)])
def test_share_is_what_the_preparation_loses(shape, size):
    """At the file's own resolution the prepared label holds exactly the voxels that are not lost."""
    rng = np.random.default_rng(0)
    label = (rng.random((*shape, 3)) < 0.1).astype(np.uint8)
    kept = preprocess.prepare_label(label, (1.0, 1.0, 5.0), target_resolution=(1.0, 1.0), size=size)
    expected = 1 - np.count_nonzero(kept) / np.count_nonzero(label)
    assert share_lost(footprint(label, (1.0, 1.0)), (1.0, 1.0), size) == pytest.approx(expected)


@pytest.mark.parametrize("resolution", [0.6, 0.9, 1.7])
def test_share_at_another_resolution(resolution):
    """Resampled by nearest neighbours, single voxels may fall on either side of the border, most do not."""
    label = np.zeros((120, 130, 2), np.uint8)
    label[3:70, 40:125] = 1
    grid = {"target_resolution": (resolution, resolution)}
    all_of_it = preprocess.prepare_label(label, (1.0, 1.0, 5.0), size=(640, 640), **grid)
    kept = preprocess.prepare_label(label, (1.0, 1.0, 5.0), size=(64, 64), **grid)
    expected = 1 - np.count_nonzero(kept) / np.count_nonzero(all_of_it)
    share = share_lost(footprint(label, (1.0, 1.0)), (resolution, resolution), (64, 64))
    assert share == pytest.approx(expected, abs=0.03) and share > 0.05


def test_needed_side_is_the_smallest():
    item = volume((150, 120, 2), [(slice(5, 80), slice(60, 61))], spacing=(1.3, 0.8, 5.0))[0].footprint
    side = needed_side(0, 1.0, [item])
    assert share_lost(item, (1.0, 1.0), (side, 640)) == 0 < share_lost(item, (1.0, 1.0), (side - 32, 640))


def test_little_is_kept_of_a_label():
    label = np.zeros((512, 512, 200), np.uint8)
    label[100:300, 200:400] = 1
    tracemalloc.start()
    where = footprint(label, (1.0, 1.0))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert where.counts.shape == (200, 200) and where.counts.dtype == np.uint8 and where.start == (100, 200)
    assert kept < 60_000 and peak < label.nbytes / 4
