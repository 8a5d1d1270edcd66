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
from fewslice.augment.rot_flip import rot_flip
from fewslice.core.errors import ConfigError
from fewslice.data.batches import generator
from fewslice.learner.samplers import (
    CropBatches,
    SliceBatches,
    WindowBatches,
    repeated_order,
    steps_of_epoch,
    units_of_step,
)
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


def stream(seed, count, batch_size, steps):
    return np.concatenate([units_of_step(seed, step, count, batch_size) for step in range(steps)])


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (2, 6), (1, 4), (12, 12), (5, 1)])
def test_every_epoch_sees_every_unit_once(count, batch_size):
    drawn = stream(0, count, batch_size, 5 * count)
    epochs = drawn[: len(drawn) // count * count].reshape(-1, count)
    assert np.all(np.sort(epochs, axis=1) == np.arange(count))
    if count > 2:
        assert len({tuple(epoch) for epoch in epochs}) > 1, "shuffled anew"


def test_a_step_is_a_function_of_seed_and_number():
    np.testing.assert_array_equal(units_of_step(3, 11, 9, 4), stream(3, 9, 4, 12)[-4:])
    assert not np.array_equal(stream(3, 9, 4, 9), stream(4, 9, 4, 9))
    assert [units_of_step(seed, 0, 5, 1)[0] for seed in range(400)].count(2) == pytest.approx(80, abs=35)
    with pytest.raises(ConfigError, match="Received: 0 units, batch size 2"):
        units_of_step(0, 0, 0, 2)


def test_steps_are_reproducible_in_any_order_and_change_no_source():
    before = [image.copy() for image in IMAGES]
    labels = annotated(SLICE, ["c0_slice_01", "c1_slice_00", "c0_slice_03"])
    how = {"batch_size": 2, "augmentation": rot_flip, "targets": lambda labels, mixing: (labels, mixing)}
    forward = [SliceBatches(labels, IMAGES, seed=1, **how).batch(step) for step in range(6)]
    batches = SliceBatches(labels, IMAGES, seed=1, **how)
    for step in reversed(range(6)):
        images, (targets, mixing) = batches.batch(step)
        assert mixing == generator(1, 0, step).random() == forward[step][1][1]
        np.testing.assert_array_equal(images, forward[step][0])
        np.testing.assert_array_equal(targets, forward[step][1][0])
    assert SliceBatches(labels, IMAGES, seed=2, **how).batch(0)[1][1] != forward[0][1][1]
    for image, copy in zip(IMAGES, before, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_slices_of_several_sizes_are_refused():
    cases = [Case("a", "a", (1, 3, 5)), Case("b", "b", (1, 4, 5))]
    labels = annotate(make_pool(cases), IGNORE, {f"{c.case_id}_slice_00": np.zeros(c.shape, np.uint8) for c in cases})
    with pytest.raises(ConfigError, match="must have one size"):
        SliceBatches(labels, [np.zeros((*case.shape, 1)) for case in cases], seed=0, batch_size=2).batch(0)


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
