"""Units are boxes in cases. Expected values: by hand, and plain loops over all boxes."""

import dataclasses
import itertools

import numpy as np
import pytest

from fewslice.active.pool import make_pool as pool_of
from fewslice.active.query import STRATEGIES, Query, select
from fewslice.active.units import UNITS, Box, Case
from fewslice.core.errors import ConfigError
from fewslice.settings.experiment import Named
from tests.active.units import make_pool

GOOD = {
    "unit_ids": ["a0", "a1", "b0"],
    "patients": ["p", "p", "q"],
    "volumes": ["a", "a", "b"],
    "positions": [0, 1, 0],
}
CASES = [Case("a", "p", (3, 9, 8), {"grade": "benign"}), Case("b", "q", (5, 4, 11), {"grade": "malignant"})]


def test_counts_depths():
    pool = make_pool(**GOOD, metadata={"phase": [0, 1, 0], "group": np.eye(3)})
    assert len(pool) == 3
    np.testing.assert_array_equal(pool.depths, [2, 2, 1])
    assert pool.positions.dtype == np.int64 and pool.depths.dtype == np.int64
    assert pool.metadata["group"].shape == (3, 3) and pool.metadata["phase"].dtype == np.float64


@pytest.mark.parametrize("change, words", [
    ({"unit_ids": ["a0", "a1", "a0"]}, "a0 is in the pool twice"),
    ({"metadata": {"height": [1.0, np.nan, 2.0]}}, "'height' must be 3 finite"),
    ({"metadata": {"height": [1.0]}}, "'height' must be 3 finite"),
])  # fmt: skip
def test_mistakes(change, words):
    with pytest.raises(ConfigError, match=words):
        make_pool(**(GOOD | change))


@pytest.mark.parametrize("name", UNITS.names())
def test_no_case_no_unit(name):
    options = {"size": (2, 2, 2)} if name == "patch" else {}
    with pytest.raises(ConfigError, match="no unit"):
        UNITS.get(name)([], **options)


def test_slices_are_boxes_one_voxel_thick():
    pool = pool_of(CASES)
    assert len(pool) == 8 and pool.box(4) == Box(1, (1, 0, 0), (1, 4, 11))
    assert pool.name(4) == "b_slice_01" and pool.find("b_slice_01") == 4
    assert pool.depths.tolist() == [3] * 3 + [5] * 5 and pool.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert "Did you mean 'b_slice_0" in pool.unknown("b_slice_9")


def test_whole_cases_with_an_image_level_label():
    pool = pool_of(CASES, Named(name="image", options={"label": "grade"}))
    assert [pool.box(unit) for unit in range(2)] == [Box(0, (0, 0, 0), (3, 9, 8)), Box(1, (0, 0, 0), (5, 4, 11))]
    assert pool.labels.tolist() == ["benign", "malignant"] and pool.unit_ids.tolist() == ["a", "b"]


def lattice(size=(2, 4, 3), stride=(1, 4, 2)):
    return pool_of(CASES, Named(name="patch", options={"size": size, "stride": stride}))


def loop_of(size, stride):
    """Returns every box of the lattice by plain loops, the far border included."""
    found = []
    for place, case in enumerate(CASES):
        sides = [min(part, length) for part, length in zip(size, case.shape, strict=True)]
        axes = []
        for length, side, step in zip(case.shape, sides, stride, strict=True):
            axis = list(range(0, length - side + 1, step))
            axes.append(axis if axis[-1] == length - side else [*axis, length - side])
        found += [Box(place, start, tuple(sides)) for start in itertools.product(*axes)]
    return found


def overlap(one, other):
    return one.case == other.case and all(
        a < b + m and b < a + n for a, n, b, m in zip(one.start, one.size, other.start, other.size, strict=True)
    )


@pytest.mark.parametrize("size, stride", [((2, 4, 3), (1, 4, 2)), ((2, 3, 3), (2, 2, 5)), ((9, 9, 9), (4, 4, 4))])
def test_a_lattice_is_every_box_of_plain_loops(size, stride):
    pool, expected = lattice(size, stride), loop_of(size, stride)
    assert [pool.box(unit) for unit in range(len(pool))] == expected
    assert [pool.find(pool.name(unit)) for unit in range(len(pool))] == list(range(len(pool)))
    for unit in range(0, len(pool), 3):
        found = pool.overlapping([expected[unit]])
        assert found.tolist() == [overlap(expected[unit], other) for other in expected]


def test_a_lattice_writes_out_no_names():
    pool = UNITS.get("patch")([Case("a", "p", (200, 200, 200))], size=(32, 32, 32), stride=1)
    assert len(pool) == 169**3
    with pytest.raises(TypeError, match="not written out"):
        _ = pool.unit_ids
    with pytest.raises(KeyError):
        pool.find("a_patch_169_0_0")
    assert pool.name(len(pool) - 1) == "a_patch_168_168_168"


def query_of(pool, budget, **parts):
    is_labelled, rng = np.zeros(len(pool), bool), np.random.default_rng(1)
    return Query(pool=pool, is_labelled=is_labelled, budget=budget, rng=rng, ignore_value=3, **parts)


@pytest.mark.parametrize("name", [name for name in STRATEGIES.names() if STRATEGIES.get(name).obeys_rules])
@pytest.mark.parametrize("cap", [None, 2])
def test_chosen_patches_share_no_voxel_and_keep_the_cap(name, cap):
    pool = lattice()
    taken = [Box(0, (0, 0, 0), (1, 9, 3))]
    rng = np.random.default_rng(0)
    seen = {"scores": rng.random(len(pool)), "pass_means": rng.dirichlet([1, 1], (len(pool), 3))}
    query = query_of(pool, 5, annotated=taken, case_cap=cap, **seen)
    chosen = [pool.box(unit) for unit in select(name, query).indices]
    assert len(chosen) == (4 if cap else 5)
    assert not any(overlap(one, other) for one, other in itertools.combinations([*chosen, *taken], 2))
    assert cap is None or all(sum(box.case == case for box in chosen) <= cap for case in (0, 1))


def test_the_best_patches_that_may_be_together():
    """By a plain loop: from the highest score down, whatever overlaps nothing chosen before."""
    pool = lattice()
    scores = np.random.default_rng(3).random(len(pool))
    query = query_of(pool, 4, scores=scores)
    expected = []
    for unit in np.argsort(-scores):
        if len(expected) < 4 and not any(overlap(pool.box(unit), pool.box(other)) for other in expected):
            expected.append(unit)
    assert select("uncertainty", query).indices.tolist() == expected


def test_strategies_without_rules_are_refused_for_patches():
    pool = lattice()
    with pytest.raises(ConfigError, match="'kcenter' obeys no rules.*random"):
        select("kcenter", query_of(pool, 2, features=np.zeros((len(pool), 2))))


def test_names_count_slices_as_the_file_does():
    flipped = [dataclasses.replace(case, is_reversed=True) for case in CASES]
    pool = pool_of(flipped)
    assert [pool.name(unit) for unit in (0, 2, 3)] == ["a_slice_02", "a_slice_00", "b_slice_04"]
    assert pool.find("b_slice_04") == 3 and pool.place_in_file(pool.box(3)) == (4, 0, 0)
    patches = pool_of(flipped, Named(name="patch", options={"size": (2, 4, 3), "stride": (1, 4, 2)}))
    assert patches.box(0).start == (0, 0, 0) and patches.name(0) == "a_patch_1_0_0"  # slices 1 and 2 of three
    assert all(patches.find(patches.name(unit)) == unit for unit in range(len(patches)))
