"""Groups and batches of group contrastive training.

Expected values: golden file (exact batches of the published sampler, which tests/reference/group_batches.py repeats
call by call, and its statistics on real layouts, which ours has too), and hand cases.
"""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.data.batches.group import (
    GroupPlan,
    GroupSampler,
    SliceHierarchy,
    draw_batches,
    draw_groups,
    group_batch,
)
from losses.group_contrastive import group_row_layout
from tests.golden_files import golden
from tests.reference import group_batches as reference

FILES = golden("coreclr", "sampler.json")
GOLDEN = json.loads(FILES[0].read_text()) if FILES else {"layouts": {}, "runs": [], "stats": []}
ABSENT = pytest.param(None, marks=pytest.mark.skip(reason="no golden files; set FEWSLICE_GOLDEN"), id="absent")
STATS = [pytest.param(s, id=f"{s['layout']}-{s['groups']}") for s in GOLDEN["stats"]] or [ABSENT]
TINY = [[3, 4], [5], [4, 4, 4], [6, 3], [4, 5]]


def plan_of(groups, batch_size):
    return GroupPlan(batch_size, use_slice_pos="s" in groups, use_phase="v" in groups, use_patient="p" in groups)


def hierarchy_of(layout):
    return SliceHierarchy(*reference.hierarchy(layout))


@pytest.mark.golden
@pytest.mark.parametrize("run", GOLDEN["runs"] or [ABSENT])
def test_published_call_order_repeats_the_recorded_batches(run):
    epochs = reference.published_epochs(
        GOLDEN["layouts"][run["layout"]],
        run["groups"],
        run["batch_size"],
        run["seed"],
        count=len(run["epochs"]),
        reset_every_epoch=run["reset_every_epoch"],
        shuffle=run["shuffle"],
    )
    assert epochs == run["epochs"]


def statistics(hierarchy, plan, epochs):
    """Returns batches per epoch, share of slices that are anchors, and counts of the partners' relations."""
    batches = [np.asarray(epoch).reshape(-1, plan.group_size) for epoch in epochs]
    relations = collections.Counter()
    groups = np.concatenate(batches)
    anchor = hierarchy.sources[groups[:, 0]]
    for position in range(1, plan.group_size):
        partner = hierarchy.sources[groups[:, position]]
        same_volume = anchor[:, 0] == partner[:, 0]
        same_patient = hierarchy.patient[groups[:, 0]] == hierarchy.patient[groups[:, position]]
        assert same_patient.all()
        is_adjacent = same_volume & (np.abs(anchor[:, 1] - partner[:, 1]) == 1)
        relations[f"position{position} adjacent"] += int(is_adjacent.sum())
        relations[f"position{position} same_volume"] += int((same_volume & ~is_adjacent).sum())
        relations[f"position{position} same_patient_other_volume"] += int((~same_volume).sum())
    anchors = [len(np.unique(epoch[:, 0])) / len(hierarchy) for epoch in batches]
    return [len(epoch) for epoch in epochs], np.mean(anchors), {name: n for name, n in relations.items() if n}


@pytest.mark.golden
@pytest.mark.parametrize("stats", [s for s in GOLDEN["stats"] if s["num_slices"] < 1000] or [ABSENT])
def test_published_call_order_repeats_the_recorded_statistics(stats):
    layout, groups = GOLDEN["layouts"][stats["layout"]], stats["groups"]
    epochs = reference.published_epochs(layout, groups, stats["batch_size"], 0, count=stats["epochs"])
    lengths, _, relations = statistics(hierarchy_of(layout), plan_of(groups, stats["batch_size"]), epochs)
    assert lengths == stats["batches_per_epoch"]
    assert relations == stats["relation_counts"]


@pytest.mark.golden
@pytest.mark.parametrize("stats", STATS)
def test_ours_has_the_recorded_statistics(stats):
    hierarchy = hierarchy_of(GOLDEN["layouts"][stats["layout"]])
    plan = plan_of(stats["groups"], stats["batch_size"])
    assert (len(hierarchy), hierarchy.num_patients) == (stats["num_slices"], stats["num_patients"])
    sampler = GroupSampler(hierarchy, plan, seed=0, reset_every_epoch=True)
    epochs = [sampler.batches(epoch) for epoch in range(stats["epochs"])]
    lengths, anchors, relations = statistics(hierarchy, plan, epochs)
    assert max(lengths) <= stats["max_batches_possible"]
    assert np.mean(lengths) == pytest.approx(np.mean(stats["batches_per_epoch"]), rel=0.01)
    assert anchors == pytest.approx(stats["anchor_fraction_per_epoch"], rel=0.01)
    assert relations.keys() == stats["relation_counts"].keys()
    for name, count in stats["relation_counts"].items():  # two draws of about the same number
        assert abs(relations[name] - count) < 5 * np.sqrt(2 * count) + 0.01 * count, name


@pytest.mark.parametrize("groups", ["s", "v", "p", "sv", "sp", "vp", "svp"])
def test_groups_are_what_their_names_say(groups):
    hierarchy = hierarchy_of(TINY)
    drawn = draw_groups(np.random.default_rng(0), hierarchy, plan_of(groups, 2 + 2 * len(groups)))
    assert drawn[:, 0].tolist() == list(range(42))
    for row in drawn:
        assert len(set(row)) == len(row)
        relations = [reference.relation(TINY, row[0], partner) for partner in row[1:]]
        for letter, relation in zip(groups, relations, strict=True):
            assert (
                relation
                in {
                    "s": {"adjacent"},
                    "v": {"adjacent", "same_volume"},
                    "p": {"adjacent", "same_volume", "same_patient_other_volume"},
                }[letter]
            )


def test_partners_are_uniform_over_the_others():
    hierarchy = SliceHierarchy([4, 2, 2], "aab")
    plan = GroupPlan(4, use_patient=True)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([draw_groups(rng, hierarchy, plan)[:6] for _ in range(600)])  # those of patient a
    counts = np.zeros((6, 6))
    np.add.at(counts, tuple(drawn.T), 1)
    assert np.all(np.diag(counts) == 0)
    assert np.abs(counts[~np.eye(6, dtype=bool)] - 120).max() < 50  # standard deviation 10


def test_smallest_volumes_that_fit():
    hierarchy = SliceHierarchy([2, 2, 2])
    drawn = draw_groups(np.random.default_rng(0), hierarchy, GroupPlan(4, use_slice_pos=True))
    assert drawn.tolist() == [[0, 1], [1, 0], [2, 3], [3, 2], [4, 5], [5, 4]]


def test_batches_are_of_different_patients_and_anchors_are_used_once():
    hierarchy = hierarchy_of(TINY)
    plan = plan_of("vp", 9)
    batches = draw_batches(np.random.default_rng(3), hierarchy, plan)
    groups = batches.reshape(-1, 3, 3)
    assert len(np.unique(groups[:, :, 0])) == groups[:, :, 0].size
    for batch in hierarchy.patient[groups]:
        assert np.all(batch == batch[:, :1]) and len(set(batch[:, 0])) == 3
    used = np.bincount(hierarchy.patient[groups[:, :, 0]].ravel(), minlength=5)
    assert np.sum(used < np.bincount(hierarchy.patient)) < 3, "it ends when fewer than three patients have groups left"


def test_patients_whose_volumes_do_not_follow_each_other():
    hierarchy = SliceHierarchy([2, 3, 2], ["b", "a", "b"])
    assert hierarchy.sources.tolist() == [[0, 0], [0, 1], [2, 0], [2, 1], [1, 0], [1, 1], [1, 2]]
    assert hierarchy.patient.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert hierarchy.volume_first.tolist() == [0, 0, 2, 2, 4, 4, 4]
    assert hierarchy.patient_size.tolist() == [4, 4, 4, 4, 3, 3, 3]


@pytest.mark.parametrize(("groups", "reset"), [("vp", False), ("vp", True), ("", False)])
def test_a_step_depends_on_seed_and_number_only(groups, reset):
    hierarchy = hierarchy_of(TINY)
    plan = plan_of(groups, 6)
    sampler = GroupSampler(hierarchy, plan, seed=5, reset_every_epoch=reset)
    in_order = [sampler.at_step(step) for step in range(50)]
    later = GroupSampler(hierarchy, plan, seed=5, reset_every_epoch=reset)
    for step in (49, 0, 21):
        epoch, sources = later.at_step(step)
        assert epoch == in_order[step][0]
        np.testing.assert_array_equal(sources, in_order[step][1])
    other = GroupSampler(hierarchy, plan, seed=6, reset_every_epoch=reset)
    assert any(not np.array_equal(other.at_step(step)[1], in_order[step][1]) for step in range(5))
    # The steps are the batches of the epochs, one after the other.
    lengths = collections.Counter(epoch for epoch, _ in in_order)
    for epoch in range(in_order[-1][0]):
        expected = hierarchy.sources[sampler.batches(epoch)]
        assert lengths[epoch] == len(expected)
        steps = [sources for number, sources in in_order if number == epoch]
        np.testing.assert_array_equal(steps, expected)


def test_without_reset_the_same_batches_come_in_a_new_order():
    sampler = GroupSampler(hierarchy_of(TINY), plan_of("v", 6), seed=0)
    first, second = sampler.batches(0), sampler.batches(1)
    assert not np.array_equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist())
    again = GroupSampler(hierarchy_of(TINY), plan_of("v", 6), seed=0, reset_every_epoch=True)
    assert sorted(again.batches(0).tolist()) != sorted(again.batches(1).tolist())


def test_without_groups_batches_are_shuffled_slices():
    sampler = GroupSampler(SliceHierarchy([7, 6]), GroupPlan(4), seed=0)
    batches = [sampler.batches(epoch) for epoch in (0, 1)]
    assert all(batch.shape == (3, 4) and len(np.unique(batch)) == 12 for batch in batches)
    assert not np.array_equal(*batches)


def test_batch_has_two_views_of_each_slice():
    volumes = [np.full((3, 16, 16), 1.0 + index, np.float32) for index in range(3)]
    hierarchy = SliceHierarchy([3, 3, 3])
    plan = GroupPlan(6, use_slice_pos=True, use_phase=True)
    _, sources = GroupSampler(hierarchy, plan, seed=0).at_step(0)
    batch = group_batch(np.random.default_rng(1), volumes, sources, plan)
    assert batch.images.shape == (12, 16, 16, 1) and batch.images.dtype == np.float32
    np.testing.assert_array_equal(batch.sources, np.tile(sources, (2, 1)))
    np.testing.assert_array_equal(batch.ids, group_row_layout(6, 3))
    np.testing.assert_allclose(batch.images.max(axis=(1, 2, 3)), batch.sources[:, 0] + 1, rtol=1e-5)
    assert not np.array_equal(batch.images[:6], batch.images[6:])
    again = group_batch(np.random.default_rng(1), volumes, sources, plan)
    np.testing.assert_array_equal(again.images, batch.images)


@pytest.mark.parametrize(
    ("depths", "patients", "plan", "message"),
    [
        ([1, 5], None, {"use_slice_pos": True}, "2 different slices of a volume, but there are fewer in volume 0"),
        ([5, 2, 2], None, {"use_slice_pos": True, "use_phase": True}, "fewer in volume 1, volume 2; leave these out"),
        ([1, 1, 5], "aab", {"use_phase": False, "use_patient": True}, None),
        ([1, 5], "ab", {"use_patient": True}, "2 different slices of a patient, .* the patient of volume 0"),
        ([5, 5], "aa", {"use_phase": True}, "2 different patients, but there are 1; use more"),
        ([5, 5, 5], None, {"use_phase": True, "batch_size": 8}, "4 different patients, .* are 3; use batch_size=6 or"),
    ],
)
def test_what_cannot_be_grouped_is_named(depths, patients, plan, message):
    plan = GroupPlan(**{"batch_size": 2 * (1 + sum(plan.values())), **plan})
    hierarchy = SliceHierarchy(depths, patients)
    if message is None:
        assert len(draw_batches(np.random.default_rng(0), hierarchy, plan)) >= 1
        return
    with pytest.raises(ConfigError, match=message):
        GroupSampler(hierarchy, plan, seed=0)


def test_wrong_sizes_are_named():
    with pytest.raises(ConfigError, match="multiple of the group size, 3, and at least 6.*Received: 10. Use 9 or 12"):
        GroupPlan(10, use_phase=True, use_patient=True)
    with pytest.raises(ConfigError, match="at least 6.*Received: 3. Use 6"):
        GroupPlan(3, use_phase=True, use_patient=True)
    with pytest.raises(ConfigError, match="a batch takes 8 slices, but there are 5"):
        GroupSampler(SliceHierarchy([5]), GroupPlan(8), seed=0)
    with pytest.raises(ConfigError, match="volumes with slices"):
        SliceHierarchy([3, 0])
