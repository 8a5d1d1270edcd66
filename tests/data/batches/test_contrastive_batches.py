"""Layout and content of training batches. Expected values: golden files of the stitcher, and hand cases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.core.errors import ConfigError
from fewslice.data.batches.contrastive import (
    BatchPlan,
    contrastive_batch,
    plan_global_batch,
    plan_local_batch,
    segmentation_batch,
)
from tests.golden_files import golden_param
from tests.reference import samplers as reference


def _volumes(count=10, side=32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.1, 1, (int(rng.integers(8, 13)), side, side)).astype(np.float32) for _ in range(count)]


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "stitch_b*.npz"))
@pytest.mark.parametrize("key, num_views", [("gd", 2), ("gdnew", 3)])
def test_golden_stitch(path, key, num_views):
    """The published stitcher drops its last group of blocks; ours has the same order and every row filled.

    Values are 1000 * source + row, source 1 to 2 * num_views = views of volumes a, then of b; 0 is black.
    """
    data = np.load(path)
    batch_size, n_parts, published = int(data["batch_size_ft"]), int(data["n_parts"]), data[key]
    rows = reference.published_stitch(batch_size, n_parts, 2 * num_views)
    values = [0 if row is None else 1000 * (row[0] + 1) + row[1] for row in rows]
    assert values == published.tolist()

    group = 2 * num_views * n_parts
    num_groups = -(-len(published) // group)
    plan = BatchPlan(2 * num_groups, n_parts, num_views, include_original=True, use_partitions=True)
    slot, part, view = plan.ids().T
    ours = 1000 * (num_views * (slot % 2) + view + 1) + slot // 2 * n_parts + part
    filled = int((published > 0).sum())
    np.testing.assert_array_equal(ours[:filled], published[:filled])
    assert (published[filled:] == 0).all() and len(published) > filled
    assert (ours > 0).all()


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "stitch_two_crop*.npz"))
def test_golden_two_views(path):
    published = np.load(path)["out"]
    slot, _, view = plan_global_batch(0, len(published) // 2, 1).ids().T
    np.testing.assert_array_equal(1000 * (view + 1) + slot, published)


@pytest.mark.parametrize(
    "make, sizes, slots, views",
    [(plan_global_batch, (0, bt_size, 4), bt_size, 2) for bt_size in (12, 5)]
    + [(plan_global_batch, (1, 12, n_parts), 12 // n_parts, 3) for n_parts in (4, 3)]
    + [(plan_global_batch, (2, *sizes), 2 * sizes[0] // sizes[1], 2) for sizes in ((12, 4), (10, 4), (12, 3), (12, 6))]
    + [(plan_global_batch, (exp_no, 12, 4), 4, 3) for exp_no in (3, 4)]
    + [(plan_global_batch, (4, 8, 4), 3, 3)]
    + [(plan_local_batch, sizes, slots, 2) for *sizes, slots in ((0, 10, 4, 10), (1, 12, 4, 3), (1, 9, 3, 3))],
)
def test_plans(make, sizes, slots, views):
    exp_no, _, n_parts = sizes
    plan, n_parts = make(*sizes), n_parts if exp_no else 1
    assert (plan.num_slots, plan.n_parts, plan.num_views) == (slots, n_parts, views)
    assert plan.num_rows == slots * n_parts * views
    assert plan.include_original == (exp_no > 0 and make is plan_global_batch)


def test_ids_by_hand():
    """Two volumes, two views, two partitions: blocks a, ã, b, b̃."""
    ids = BatchPlan(2, 2, 2, include_original=True, use_partitions=True).ids()
    block = [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
    assert ids.dtype == np.int32
    assert ids.tolist() == block + [[1, part, view] for _, part, view in block]


@pytest.mark.parametrize(
    "plan, exp_no, bt_size, n_parts, words",
    [
        (plan_global_batch, 1, 10, 4, "--bt_size=8 or 12"),
        (plan_global_batch, 1, 2, 4, "--bt_size=4,"),
        (plan_global_batch, 2, 11, 4, "--bt_size=10 or 12"),
        (plan_global_batch, 2, 10, 3, "--bt_size=9 or 12"),
        (plan_global_batch, 2, 2, 4, "--bt_size=4,"),
        (plan_local_batch, 1, 10, 4, "--bt_size=8 or 12"),
        (plan_local_batch, 1, 4, 4, "--bt_size=8,"),
    ],
)
def test_plans_that_do_not_fit(plan, exp_no, bt_size, n_parts, words):
    with pytest.raises(ConfigError, match=words):
        plan(exp_no, bt_size, n_parts)


def test_sizes_that_messages_name_do_fit():
    for bt_size, n_parts in np.ndindex(30, 8):
        for plan, exp_no in ((plan_global_batch, 1), (plan_global_batch, 2), (plan_local_batch, 1)):
            try:
                plan(exp_no, bt_size + 1, n_parts + 1)
            except ConfigError as error:
                for value in str(error).split("--bt_size=")[1].split(",")[0].split(" or "):
                    plan(exp_no, int(value), n_parts + 1)


def _batch(seed, volumes, plan, box=100, strong=False):
    return contrastive_batch(np.random.default_rng(seed), volumes, plan, box=box, strong=strong)


@pytest.mark.parametrize(
    "plan, box",
    [(plan_global_batch(exp_no, 12, n_parts), 100) for exp_no in range(5) for n_parts in (3, 4, 6)]
    + [(plan_local_batch(*sizes), None) for sizes in ((0, 10, 4), (1, 12, 4), (1, 9, 3))],
    ids=str,
)
@pytest.mark.parametrize("strong", [False, True])
def test_contrastive_batches(plan, box, strong):
    volumes = _volumes()
    for volume in volumes:
        volume.setflags(write=False)
    batch = _batch([1, 0, 7], volumes, plan, box, strong)
    np.testing.assert_array_equal(batch.ids, plan.ids())
    assert batch.images.shape == (plan.num_rows, 32, 32, 1) and batch.images.dtype == np.float32
    assert batch.images.flags.writeable and batch.sources.shape == (plan.num_rows, 2)
    assert np.ptp(batch.images, axis=(1, 2, 3)).min() > 0
    _check_rows(batch, volumes, plan)


def _check_rows(batch, volumes, plan):
    """Views of one (slot, partition) come from one slice; originals equal it; slots are different volumes."""
    for (slot, part, view), (volume, index), image in zip(batch.ids, batch.sources, batch.images, strict=True):
        same = (batch.ids[:, 0] == slot) & (batch.ids[:, 1] == part)
        assert (batch.sources[same] == (volume, index)).all()
        is_original = (image[:, :, 0] == volumes[volume][index]).all()
        assert is_original == (plan.include_original and view == 0)
        if plan.use_partitions:
            depth = len(volumes[volume])
            assert part * depth // plan.n_parts <= index < (part + 1) * depth // plan.n_parts
    if plan.use_partitions:
        per_slot = [set(batch.sources[batch.ids[:, 0] == slot, 0]) for slot in range(plan.num_slots)]
        assert all(len(volumes_of) == 1 for volumes_of in per_slot)
        assert len(set().union(*per_slot)) == plan.num_slots


@pytest.mark.parametrize("side", [32, 64, 96])
def test_dark_and_off_centre_volumes_give_no_blank_rows(side):
    """In the published code, a batch of the default setting has 16 black rows of 48."""
    rng = np.random.default_rng(0)
    dark = [rng.uniform(0, 0.02, (8, side, side)).astype(np.float32) for _ in range(4)]
    corner = [np.zeros((8, side, side), np.float32) for _ in range(4)]
    for volume in corner:
        volume[:, -4:, -4:] = 1
    for exp_no in range(5):
        for seed in range(4):
            batch = _batch(seed, dark + corner, plan_global_batch(exp_no, 12, 4))
            assert np.ptp(batch.images, axis=(1, 2, 3)).min() > 0


def test_batches_are_functions_of_the_generator_also_in_threads():
    volumes, plan = _volumes(), plan_global_batch(2, 12, 4)

    def make(step):
        return _batch([3, 1, step], volumes, plan)

    alone = [make(step) for step in range(8)]
    with ThreadPoolExecutor(3) as pool:
        for one, other in zip(alone, pool.map(make, range(8)), strict=True):
            for first, second in zip(one, other, strict=True):
                np.testing.assert_array_equal(first, second)
    assert (alone[0].images != alone[1].images).any()


def test_errors_name_volumes():
    case = SimpleNamespace(case_id="017_ES")
    volumes = [SimpleNamespace(image=volume) for volume in _volumes()]
    volumes.append(SimpleNamespace(image=np.ones((3, 32, 32), np.float32), case=case))
    with pytest.raises(ConfigError, match=r"017_ES \(3\).*--n_parts=3 or less"):
        _batch(0, volumes, plan_global_batch(2, 12, 4))
    with pytest.raises(ConfigError, match="needs 6 different volumes, but the split has 4.*smaller --bt_size"):
        _batch(0, volumes[:4], plan_global_batch(2, 12, 4))


def _labelled(classes=4):
    rng = np.random.default_rng(0)
    return [
        SimpleNamespace(image=image, label=rng.integers(0, classes, image.shape).astype(np.uint8))
        for image in _volumes(4)
    ]


def test_segmentation_batch_without_augmentation():
    volumes = _labelled()
    batch = segmentation_batch(np.random.default_rng(0), volumes, batch_size=9, num_classes=4)
    assert batch.labels.dtype == np.float32
    for image, label, (volume, index) in zip(batch.images, batch.labels, batch.sources, strict=True):
        np.testing.assert_array_equal(image[:, :, 0], volumes[volume].image[index])
        np.testing.assert_array_equal(label.argmax(-1), volumes[volume].label[index])
    assert np.isin(batch.labels, [0, 1]).all()
    np.testing.assert_array_equal(batch.labels.sum(-1), 1)


@pytest.mark.parametrize("batch_size", [1, 2, 20])
def test_segmentation_batch_with_augmentation(batch_size):
    volumes, options = _labelled(), {"batch_size": batch_size, "augmentation": SegmentationAugmentation()}
    for seed in range(5):
        batch = segmentation_batch(np.random.default_rng(seed), volumes, num_classes=4, **options)
        assert batch.images.shape == (batch_size, 32, 32, 1) and batch.labels.shape == (batch_size, 32, 32, 4)
        np.testing.assert_allclose(batch.labels.sum(-1), 1, atol=1e-6)
        assert np.ptp(batch.images, axis=(1, 2, 3)).min() > 0


def test_segmentation_batch_with_a_share_of_slices_that_show_a_structure():
    """Two of six slices show one; a third of nine rows is drawn among them, last."""
    shown = {0: [1], 1: [], 2: [3]}
    volumes = [
        SimpleNamespace(**vars(each), structure_slices=np.array(shown[i], int))
        for i, each in enumerate(_labelled()[:3])
    ]
    options = {"batch_size": 9, "num_classes": 4}
    sources = [
        segmentation_batch(np.random.default_rng(s), volumes, **options, oversample=0.33).sources for s in range(9)
    ]
    assert {tuple(row) for each in sources for row in each[-3:]} == {(0, 1), (2, 3)}
    assert len({tuple(row) for each in sources for row in each[:-3]}) > 4
    for each in volumes:
        each.structure_slices = np.array([], int)
    plain = segmentation_batch(np.random.default_rng(0), volumes, **options)
    none = segmentation_batch(np.random.default_rng(0), volumes, **options, oversample=0.33)
    np.testing.assert_array_equal(none.sources, plain.sources)


def test_segmentation_batch_with_mixup_by_hand():
    """Drawn after the slices and mixed from the batch that there would be without it: slices, weights, pairs."""
    volumes, options = _labelled(), {"batch_size": 3, "num_classes": 4}
    plain = segmentation_batch(np.random.default_rng(5), volumes, **options)
    mixed = segmentation_batch(np.random.default_rng(5), volumes, **options, mixup=0.5)
    rng = np.random.default_rng(5)
    segmentation_batch(rng, volumes, **options)
    weights, pairs = rng.beta(0.5, 0.5, size=3), rng.integers(3, size=(3, 2))
    np.testing.assert_array_equal(mixed.sources, plain.sources)
    for row, (weight, (first, second)) in enumerate(zip(weights, pairs, strict=True)):
        for found, source in ((mixed.images, plain.images), (mixed.labels, plain.labels)):
            np.testing.assert_allclose(found[row], weight * source[first] + (1 - weight) * source[second], atol=1e-6)
    assert mixed.images.dtype == mixed.labels.dtype == np.float32
    np.testing.assert_allclose(mixed.labels.sum(-1), 1, atol=1e-6)
    assert ((mixed.labels > 0.01) & (mixed.labels < 0.99)).any()
