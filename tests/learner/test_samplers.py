"""Batches from partial labels. Expected values: the labels that were given, put into volumes by a loop."""

from __future__ import annotations

import functools
import json
import re

import numpy as np
import pytest

from fewslice.active.pool import make_pool
from fewslice.active.units import Case
from fewslice.augment.colour_crop import colour_crop
from fewslice.learner.samplers import CropBatches, SliceBatches, WindowBatches, repeated_order, steps_of_epoch
from fewslice.settings.experiment import Named
from tests.active.units import annotate, volume_of
from tests.golden_files import golden_param

IGNORE = 3
SHAPES = [(4, 6, 5), (2, 6, 5)]
CASES = [Case(f"c{place}", f"c{place}", shape) for place, shape in enumerate(SHAPES)]
IMAGES = [np.random.default_rng(n).random((*shape, 1)).astype(np.float32) for n, shape in enumerate(SHAPES)]
TRUTH = [np.random.default_rng(9 + n).integers(0, 3, shape).astype(np.uint8) for n, shape in enumerate(SHAPES)]
SLICE, PATCH = Named("slice"), Named("patch", {"size": (2, 3, 2), "stride": 1})


def annotated(unit, *rounds, hole=False):
    """Returns labels of what rounds of units by name revealed, those of the truth; with a voxel unknown in each box."""
    pool = make_pool(CASES, unit)

    def drawn(name):
        box = pool.box(pool.find(name))
        values = TRUTH[box.case][box.slices].copy()
        if hole:
            values[0, 0, 0] = IGNORE
        return values

    return annotate(pool, IGNORE, *({name: drawn(name) for name in names} for names in rounds))


def test_slices_are_drawn_once_an_epoch_with_their_labels():
    labels = annotated(SLICE, ["c0_slice_01", "c1_slice_00"], ["c0_slice_03"])
    batches = SliceBatches(labels, IMAGES, seed=0, batch_size=3)
    for step in range(3):
        images, targets = batches.batch(step)
        assert sorted(batches.describe(step)) == [1, 3, 4]
        for image, target, unit in zip(images, targets, batches.describe(step), strict=True):
            box = labels.pool.box(unit)
            assert np.array_equal(image, IMAGES[box.case][box.start[0]])
            assert np.array_equal(target, TRUTH[box.case][box.start[0]]) and target.dtype == np.int32


def test_slices_of_patches_know_only_what_lies_in_them():
    """Two patches touch slice 1 of the first case, which is one sample."""
    labels = annotated(PATCH, ["c0_patch_0_0_0", "c0_patch_1_3_2"])
    batches = SliceBatches(labels, IMAGES, seed=0, batch_size=3)
    _, targets = batches.batch(0)
    expected = np.full((3, 6, 5), IGNORE)
    expected[:2, :3, :2], expected[1:, 3:, 2:4] = TRUTH[0][:2, :3, :2], TRUTH[0][1:3, 3:, 2:4]
    assert sorted(map(bytes, targets.astype(np.uint8))) == sorted(map(bytes, expected.astype(np.uint8)))


@pytest.mark.parametrize(
    ("unit", "name", "hole", "fill"),
    [(SLICE, "c0_slice_01", False, 0), (SLICE, "c0_slice_01", True, IGNORE), (PATCH, "c0_patch_0_0_0", False, IGNORE)],
)
def test_augmentation_fills_in_background_where_everything_is_known(unit, name, hole, fill):
    fills = []

    def augmentation(rng, images, labels, *, label_fill):
        fills.append(label_fill)
        return images, labels

    labels = annotated(unit, [name], hole=hole)
    SliceBatches(labels, IMAGES, seed=0, batch_size=1, augmentation=augmentation).batch(0)
    assert fills == [fill]


@pytest.mark.parametrize("window", [(2, 4, 4), (3, 4, 5), (1, 2, 2), (5, 8, 3)])
def test_windows_hold_their_box_and_all_that_is_known(window):
    """Every voxel of a window has a value of its own, so that its place is found again."""
    places = [np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(*shape, 1) for shape in SHAPES]
    labels = annotated(PATCH, ["c0_patch_0_0_0", "c0_patch_2_3_3"], ["c1_patch_0_2_1"])
    batches = WindowBatches(labels, places, seed=5, batch_size=3, window=window)
    starts = set()
    for step in range(20):
        assert sorted(batches.describe(step)) == sorted(labels.units.tolist())
        images, targets = batches.batch(step)
        again = batches.batch(step)
        assert np.array_equal(images, again[0]) and np.array_equal(targets, again[1])
        for image, target, unit in zip(images[..., 0], targets, batches.describe(step), strict=True):
            box = labels.pool.box(unit)
            known = volume_of(labels, box.case)
            filled = image > 0
            assert (target[~filled] == IGNORE).all()
            assert np.array_equal(target[filled], known.ravel()[image[filled].astype(int) - 1])
            inside = np.isin(places[box.case][..., 0][box.slices], image)
            count = np.prod(np.minimum(window, np.minimum(box.size, SHAPES[box.case])))
            assert inside.sum() == count, "the box in the window, or the window in the box"
            starts.add((unit, float(image.flat[0])))
    assert len(starts) > 3, "at several places"


def test_windows_are_augmented():
    labels = annotated(PATCH, ["c0_patch_0_0_0"])
    seen = []

    def augmentation(rng, images, labels, *, label_fill):
        seen.append((images.shape, labels.shape, label_fill))
        return images[:, ::-1], labels[:, ::-1]

    how = {"seed": 0, "batch_size": 2, "window": (2, 3, 3)}
    plain, turned = (
        WindowBatches(labels, IMAGES, **how),
        WindowBatches(labels, IMAGES, augmentation=augmentation, **how),
    )
    assert np.array_equal(plain.batch(4)[0][:, ::-1], turned.batch(4)[0])
    assert seen == [((2, 2, 3, 3, 1), (2, 2, 3, 3), IGNORE)]


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "expanded_sampler*.json"))
def test_golden_repeated_order(path):
    for name, recorded in json.loads(path.read_text()).items():
        count, repeats = (float(text) for text in re.fullmatch(r"n(\d+)_mul([\d.]+)", name).groups())
        order = repeated_order(np.random.default_rng(0), int(count), repeats)
        assert len(order) == recorded["len"]
        counts = np.bincount(order, minlength=int(count))
        assert sorted(counts) == sorted(recorded["counts"]), "with a fraction others than the first few"
        assert steps_of_epoch(int(count), repeats, 16) == recorded["batches_of_16"]


def test_crops_are_drawn_some_times_an_epoch_with_their_labels():
    """Every pixel has a number of its own, so that its place is found again; cases differ in size."""
    shapes = [(1, 6, 5), (1, 9, 7), (1, 3, 4)]
    cases = [Case(f"c{place}", f"c{place}", shape) for place, shape in enumerate(shapes)]
    places = [np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(*shape, 1) for shape in shapes]
    truth = [np.random.default_rng(n).integers(0, 3, shape).astype(np.uint8) for n, shape in enumerate(shapes)]
    labels = annotate(make_pool(cases, Named("image")), IGNORE, {f"c{n}": truth[n] for n in (2, 0, 1)})
    crop = functools.partial(colour_crop, size=4, label_fill=IGNORE, jitter={})
    batches = CropBatches(labels, places, seed=5, batch_size=7, repeats=4, crop=crop)
    for epoch in range(2):
        seen = [batches.describe(2 * epoch + step) for step in range(2)]
        assert [len(one) for one in seen] == [7, 5] and sorted(sum(seen, [])) == [0] * 4 + [1] * 4 + [2] * 4
    assert batches.describe(0) != batches.describe(2)
    for step in range(4):
        images, targets = batches.batch(step)
        np.testing.assert_array_equal(images, batches.batch(step)[0])
        assert images.shape[1:] == (4, 4, 1) and targets.dtype == np.int32
        for image, target, unit in zip(images[..., 0], targets, batches.describe(step), strict=True):
            assert (target[image == 0] == IGNORE).all() and (image > 0).any()
            np.testing.assert_array_equal(target[image > 0], truth[unit].ravel()[image[image > 0].astype(int) - 1])
