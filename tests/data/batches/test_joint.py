"""What a step of joint training draws. Expected values: golden file, tests/reference/joint_batches.py, hand cases."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.batches.joint import JointPlan, LabelPool, draw_joint_batch, draw_positions, pair_table
from tests.golden_files import golden_param
from tests.reference import joint_batches as reference


def volume(*class_sets, side=6, dtype=np.uint8):
    """A volume whose slices show the given classes, each in one row of its own, between rows of background."""
    out = np.zeros((len(class_sets), side, side), dtype)
    for labels, classes in zip(out, class_sets, strict=True):
        for c in classes:
            labels[c, : c + 1] = c
        if 0 not in classes:
            labels[labels == 0] = classes[-1]
    return out


ALL = (0, 1, 2, 3)


def pools():
    labelled = LabelPool([volume(ALL, (0, 1), ALL), volume((0,), ALL)], 4)
    unlabelled = LabelPool([volume((0, 2)), volume(ALL, ALL, ALL, (1, 2, 3))], 4)
    return labelled, unlabelled


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "pos_neg_index*.npz"))
def test_golden_positions(path):
    data = np.load(path)
    half = int(data["batch_size_ft"])
    found = reference.published_positions(
        data["labels"][:half],
        data["labels"][half:],
        int(data["num_classes"]),
        n_pos=int(data["no_of_pos_eles"]),
        n_neg=int(data["no_of_neg_eles"]),
        rng=np.random.RandomState(int(data["seed_numpy"])),
    )
    for name in found._fields:
        np.testing.assert_array_equal(getattr(found, name), data[name])


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "pos_neg_index*.npz"))
def test_golden_labels_ours_are_valid_where_the_published_are(path):
    data = np.load(path)
    half, n_pos = int(data["batch_size_ft"]), int(data["no_of_pos_eles"])
    labels = data["labels"]
    positions, valid = draw_positions(
        labels[:half], labels[half:], int(data["num_classes"]), n_pos, np.random.default_rng(0)
    )
    published = np.concatenate([data["pos1"], data["pos2"]])
    np.testing.assert_array_equal(valid, published[..., 0] != int(data["sentinel"]))
    assert positions.shape == published.shape


@pytest.mark.parametrize("shape", [(3, 7, 5), (1, 9, 9)])
def test_positions_equal_the_loops(shape):
    rng = np.random.default_rng(1)
    labels_a, labels_b = rng.integers(4, size=shape), rng.integers(4, size=shape)
    labels_a[0][labels_a[0] == 2] = 0
    positions, valid = draw_positions(labels_a, labels_b, 4, 3, np.random.default_rng(5))
    expected = reference.positions(labels_a.tolist(), labels_b.tolist(), 4, 3, np.random.default_rng(5))
    assert positions.dtype == np.int32 and valid.dtype == bool
    for image in range(2 * len(labels_a)):
        for c in (1, 2, 3):
            pixels = expected.get((image, c))
            assert valid[image, c - 1].tolist() == [pixels is not None] * 3
            assert positions[image, c - 1].tolist() == [list(p) for p in pixels or [(0, 0)] * 3]


def test_positions_are_uniform_over_the_pixels_of_the_class():
    labels = np.array([[[1, 0, 1], [0, 2, 1]]])
    positions, valid = draw_positions(labels, labels, 3, 6000, np.random.default_rng(0))
    assert valid.all()
    for image in range(2):
        places, counts = np.unique(positions[image, 0], axis=0, return_counts=True)
        assert places.tolist() == [[0, 0], [0, 2], [1, 2]]
        assert np.all(np.abs(counts - 2000) < 5 * np.sqrt(2000))  # five standard deviations
        assert np.all(positions[image, 1] == [1, 1])


def test_pairs_of_ten_are_the_published_table():
    assert pair_table(10, 1).tolist() == reference.pairs(reference.INTER_10, 5)


@pytest.mark.parametrize(
    "bt_size, text",
    [
        (2, "L0|U0 U0|U0"),
        (3, "L0|U0 U0|U0 U0|U1"),
        (4, "L0|L0 L1|U1 U0|U0 U0|U1"),
        (5, "L0|L0 L1|U1 U0|U0 U0|U1 U1|U2"),
        (6, "L0|L0 L1|U1 L2|U2 U0|U0 U0|U1 U1|U2"),
        (8, "L0|L0 L1|U1 L2|L2 L3|U3 U0|U0 U0|U1 U2|U2 U2|U3"),
    ],
)
def test_pairs_by_hand(bt_size, text):
    assert pair_table(bt_size, 1).tolist() == reference.pairs(text, bt_size // 2)


@pytest.mark.parametrize("exp_no", [0, 1])
@pytest.mark.parametrize("bt_size", range(2, 26))
def test_every_slice_is_in_a_pair(bt_size, exp_no):
    first, second = pair_table(bt_size, exp_no)
    assert set(first) | set(second) == set(range(bt_size))
    half = bt_size // 2
    assert np.all(first[:half] < half) and np.all(first[half:] >= half) and np.all(second[half:] >= half)
    assert exp_no == 1 or np.array_equal(first, second)
    crossing = np.sum((first < half) & (second >= half))
    assert crossing == (0 if exp_no == 0 else half - max(0, half // 2)) or exp_no == 1 and crossing >= 1


def test_table_of_classes():
    labelled, unlabelled = pools()
    flat = [labels for pool in (labelled, unlabelled) for array in pool.labels for labels in array]
    expected = [[c in reference.classes_of(labels.tolist()) for c in range(4)] for labels in flat]
    assert np.concatenate([labelled.present, unlabelled.present]).tolist() == expected
    for pool, least, places in (
        (labelled, 2, {(0, 0), (0, 1), (0, 2), (1, 1)}),
        (unlabelled, 4, {(1, 0), (1, 1), (1, 2)}),
    ):
        assert set(map(tuple, pool.draw(np.random.default_rng(0), 200, least).tolist())) == places


def test_draws_are_uniform_over_the_slices_that_qualify_like_those_of_the_published_code():
    labelled, _ = pools()
    slices = [labels for array in labelled.labels for labels in array]
    drawn = labelled.draw(np.random.default_rng(0), 3000, 4)
    ours = np.array([[0, 0], [0, 2], [1, 1]])
    counts = [(drawn == row).all(axis=1).sum() for row in ours]
    rng, published = np.random.default_rng(1), []
    for _ in range(600):
        published += reference.published_slices(rng, [s.tolist() for s in slices], 5, 4, 60) or []
    theirs = np.bincount(published, minlength=5)
    assert theirs[[1, 3]].sum() == 0 and sum(counts) == theirs.sum() == 3000
    assert np.all(np.abs(counts - theirs[[0, 2, 4]]) < 5 * np.sqrt(2 * 1000))


@pytest.mark.parametrize("exp_no", [0, 1])
@pytest.mark.parametrize("bt_size", [2, 5, 10, 14])
def test_batch(bt_size, exp_no):
    labelled, unlabelled = pools()
    plan = JointPlan(bt_size=bt_size, exp_no=exp_no, num_labelled=7, n_pos=2, min_classes_seg=2)
    batch = draw_joint_batch(np.random.default_rng([0, 1]), labelled, unlabelled, plan=plan)
    half = bt_size // 2
    assert batch.segmentation.shape == (7, 2) and len(batch.labelled) == half
    assert len(batch.unlabelled) == bt_size - half and len(batch.labels) == len(batch.pairs) == 2 * bt_size
    for row, place in enumerate(batch.pairs):
        pool, index = (labelled, batch.labelled) if place < half else (unlabelled, batch.unlabelled)
        source, slice_index = index[place - half * (place >= half)]
        np.testing.assert_array_equal(batch.labels[row], pool.labels[source][slice_index])
        assert reference.classes_of(batch.labels[row].tolist()) == {0, 1, 2, 3}
    assert batch.valid.all() and batch.valid.shape == (2 * bt_size, 3, 2)
    rows = np.arange(2 * bt_size)[:, None, None]
    at = batch.labels[rows, batch.positions[..., 0], batch.positions[..., 1]]
    np.testing.assert_array_equal(at, np.broadcast_to(np.arange(1, 4)[:, None], at.shape))
    shown = [labelled.labels[v][i] for v, i in batch.segmentation]
    assert all(len(reference.classes_of(labels.tolist())) >= 2 for labels in shown)


def test_batch_is_a_function_of_the_generator():
    labelled, unlabelled = pools()
    draws = [
        draw_joint_batch(np.random.default_rng([0, seed]), labelled, unlabelled, plan=JointPlan()) for seed in (1, 1, 2)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*draws[:2], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(*draws[1:], strict=True))


def test_fewer_classes_leave_invalid_samples():
    labelled, unlabelled = LabelPool([volume((0, 1))], 4), LabelPool([volume(ALL)], 4)
    batch = draw_joint_batch(np.random.default_rng(0), labelled, unlabelled, plan=JointPlan(min_classes=2))
    assert batch.valid[0].tolist() == [[True] * 3, [False] * 3, [False] * 3]  # L0 with itself
    assert batch.valid[1].tolist() == batch.valid[11].tolist() == batch.valid[0].tolist()  # L1 with U1, either image
    assert batch.valid[5].all()  # U0 with itself


def test_labels_may_be_memory_mapped(tmp_path):
    array = volume(ALL, (0, 1))
    np.save(tmp_path / "label.npy", array)
    pool = LabelPool([np.load(tmp_path / "label.npy", mmap_mode="r")], 4)
    assert isinstance(pool.labels[0], np.memmap)
    np.testing.assert_array_equal(pool.gather(np.array([[0, 1]])), array[1:])


def test_no_slice_qualifies():
    pool = LabelPool([volume((0, 1, 2), (0, 1), (0, 2, 3))], 4)
    with pytest.raises(
        ConfigError, match="None of the 3 slices shows 4 of the 4 classes.*are 3, in 2 slices"
    ) as caught:
        pool.draw(np.random.default_rng(0), 2, 4)
    assert "min_classes=3 or less" in str(caught.value)
    with pytest.raises(ConfigError, match="None of the 3 pseudo-labelled slices"):
        draw_joint_batch(np.random.default_rng(0), pools()[0], pool, plan=JointPlan())


@pytest.mark.parametrize(
    "labels, error, message",
    [
        ([], ConfigError, "There are no slices"),
        ([volume(ALL), volume((0, 5))], DataError, "patient2\n.*classes 0 to 3\n.*labels 0 to 5"),
        ([volume(ALL, dtype=np.int16) - 1], DataError, "patient1\n.*classes 0 to 3\n.*labels -1 to 2"),
        ([volume(ALL), volume(ALL, side=8)], DataError, "patient2\n.*slices of \\(6, 6\\)"),
        ([volume(ALL, dtype=np.float32)], DataError, "patient1\n.*integer type"),
    ],
)
def test_wrong_labels(labels, error, message):
    with pytest.raises(error, match=message):
        LabelPool(labels, 4, names=["patient1", "patient2"])


def test_a_batch_has_two_pairs_at_least():
    with pytest.raises(ConfigError, match="`bt_size` must be at least 2"):
        pair_table(1, 0)


def test_pools_must_fit():
    other = LabelPool([volume((0, 1, 2))], 3)
    with pytest.raises(ConfigError, match="differ in"):
        draw_joint_batch(np.random.default_rng(0), pools()[0], other, plan=JointPlan())


def test_a_step_takes_a_few_milliseconds():
    """20 maps of 192 x 192: about 2 ms of processor time; the bound leaves room for slow machines."""
    rows, columns = np.mgrid[:192, :192]
    rings = np.clip(4 - np.hypot(rows - 90, columns - 100) / 20, 0, 3).astype(np.uint8)
    pool = LabelPool([np.stack([rings] * 10)] * 3, 4)
    times = []
    for step in range(10):
        started = time.process_time()
        draw_joint_batch(np.random.default_rng([0, step]), pool, pool, plan=JointPlan())
        times.append(time.process_time() - started)
    assert min(times) < 0.02
