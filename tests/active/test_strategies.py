"""What each strategy chooses.

Expected values: points on a line by hand; plain loops over the formulas in tests/reference/active.py. Golden numbers
are in test_golden_active.py.
"""

import dataclasses

import numpy as np
import pytest

from fewslice.active.measures.coverage import purity_radius, unit_rows
from fewslice.active.measures.typical import cluster_units, typical_units, typicality
from fewslice.active.query import STRATEGIES, best, best_first, select
from fewslice.active.strategies.uncertainty_herding import smallest_distance
from fewslice.core.errors import ConfigError
from tests.active.units import choose, make_query, make_units, query_of
from tests.reference import active as reference
from tests.reference import scores as loops


def on_a_line(places):
    """Returns (N, 1) features."""
    return np.array(places, np.float32)[:, None]


def test_best_is_drawn_among_equals():
    values = np.array([1.0, 3.0, 3.0 * (1 - 1e-12), -np.inf])
    assert {best(values, rng=np.random.default_rng(seed)) for seed in range(20)} == {1}
    assert {best(values, rng=np.random.default_rng(seed), rtol=1e-9) for seed in range(20)} == {1, 2}
    orders = {tuple(best_first(np.array([0, 2, 2, 1]), 3, rng=np.random.default_rng(seed))) for seed in range(20)}
    assert orders == {(1, 2, 3), (2, 1, 3)}


@pytest.mark.parametrize(
    ("per_label", "budget", "expected"),
    [
        (0, 3, [5, 4, 3]),
        (1, 3, [4, 5, 0]),  # one of a, b, c, class by class
        (1, 4, [4, 5, 0, 3]),  # and the best of the others
        (2, 5, [4, 3, 5, 0, 2]),  # of b and c there is one each: the rest is filled by rank
        (1, 2, [4, 5]),  # a budget that ends before the last class
    ],
)
def test_units_of_each_class_come_first(per_label, budget, expected):
    pool = make_units([1] * 7)
    pool.labels = np.array(list("caaaabb"))
    query = make_query("uncertainty", budget, (6,), pool=pool, inputs={"scores": np.array([0.1, 0, 2, 3, 4, 5, 9.0])})
    query = dataclasses.replace(query, per_label=per_label)
    assert select("uncertainty", query).indices.tolist() == expected


def test_random_units_of_each_class():
    pool = make_units([1] * 20)
    pool.labels = np.array(["rare"] * 2 + ["common"] * 18)
    found = [
        select("random", make_query("random", 4, (), pool=pool, seed=seed, inputs={}, per_label=2)).indices
        for seed in range(30)
    ]
    assert all(set(indices) >= {0, 1} and len(set(indices)) == 4 for indices in found)
    assert len(set(np.concatenate(found).tolist())) == 20
    with pytest.raises(ConfigError, match="`per_label` needs units with an image-level class"):
        select("random", make_query("random", 4, per_label=1))


def test_uncertainty_takes_the_highest_scores_in_order():
    indices, values = choose("uncertainty", 3, (1,), scores=[0.1, 0.9, 0.5, 0.7, 0.6])
    assert indices == [3, 4, 2] and values.tolist() == [0.7, 0.6, 0.5]


def test_ranks_are_shuffled_in_part():
    scores = np.arange(40)[::-1]
    found = [
        choose("uncertainty", 39, scores=scores, seed=seed, options={"shuffle_prop": 0.2})[0] for seed in range(50)
    ]
    moved = [np.mean([place != unit for place, unit in enumerate(one)]) for one in found]
    assert 0.1 < np.mean(moved) < 0.25 and len(set(map(tuple, found))) > 40
    assert choose("uncertainty", 39, scores=scores)[0] == list(range(39))
    few = [choose("uncertainty", 2, scores=scores, seed=seed, options={"shuffle_prop": 1.0})[0] for seed in range(200)]
    assert len({unit for one in few for unit in one}) == 40  # from below the budget too


def test_the_first_units():
    assert choose("first", 3, (1,), scores=[0.0] * 5)[0] == [0, 2, 3]


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
def test_units_are_drawn_by_their_weights(kind):
    """A pair of units is drawn in this order with probability w_i / sum w * w_j / (sum w - w_i)."""
    scores, draws = np.array([0.5, 1.0, 2.0, 2.0]), 1200
    weights = {"power": scores**2, "softmax": np.exp(2 * scores), "softrank": np.array([4, 3, 1.5, 1.5]) ** -2.0}[kind]
    options, pairs = {"beta": 2.0, "kind": kind}, np.zeros((4, 4))
    query, strategy = query_of("power", 2, scores=scores), STRATEGIES.get("power")  # checks its options only once
    for seed in range(draws):
        choice = strategy(dataclasses.replace(query, rng=np.random.default_rng(seed)), **options)
        one, two = choice.indices
        pairs[one, two] += 1 / draws
        assert choice.values.tolist() == [scores[one], scores[two]]
    assert choose("power", 2, scores=scores, seed=draws - 1, options=options)[0] == [one, two]
    share = weights / weights.sum()
    expected = share[:, None] * share / (1 - share)[:, None] * (1 - np.eye(4))
    np.testing.assert_allclose(pairs, expected, atol=0.05)


def test_scores_of_zero_come_last():
    for seed in range(20):
        chosen = choose("power", 4, scores=[0.0, 1.0, -1.0, 0.1, 0.0], seed=seed)[0]
        assert set(chosen[:2]) == {1, 3} and len(set(chosen[2:]) & {0, 2, 4}) == 2


def test_large_beta_takes_the_most_uncertain():
    assert choose("power", 3, scores=[0.1, 0.9, 0.5, 0.7], options={"beta": 1e4})[0] == [1, 3, 2]


@pytest.mark.parametrize("seed", range(3))
def test_batchbald_equals_the_loops(seed):
    means = np.random.default_rng(seed).dirichlet(np.full(3, 0.5), (7, 4))
    chosen, values = choose("batchbald", 4, pass_means=means)
    expected, information = loops.batchbald(means, 4)
    assert chosen == expected
    np.testing.assert_allclose(values, information, rtol=1e-9)
    sampled = choose("batchbald", 4, pass_means=means, options={"configurations": 20000})
    np.testing.assert_array_equal(sampled[1], values)  # exact as long as there are no more
    drawn = choose("batchbald", 4, pass_means=means, options={"configurations": 25})[0]
    assert loops.joint_information(means, drawn) > 0.9 * information[-1]


def test_batchbald_takes_no_copy_of_what_it_has():
    torn, other = [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], [[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.2, 0.8]]
    means = np.array([torn, torn, other])
    assert choose("batchbald", 2, pass_means=means)[0] == [0, 2]
    bald = [loops.joint_information(means, [unit]) for unit in range(3)]
    assert sorted(choose("uncertainty", 2, scores=bald)[0]) == [0, 1]


def test_batchbald_takes_units_of_each_class():
    torn, other = [[0.9, 0.1], [0.1, 0.9]], [[0.6, 0.4], [0.4, 0.6]]
    pool = make_units([1] * 4)
    pool.labels = np.array(list("baba"))
    inputs = {"pass_means": np.array([torn, other, torn, torn])}
    query = make_query("batchbald", 3, pool=pool, inputs=inputs, per_label=1)
    assert select("batchbald", query).indices.tolist()[:2] == [3, 0]  # of class a the one that tells most, then of b


def test_predicted_classes_stand_in_for_known_ones():
    pool = make_units([1] * 4)
    pool.labels = np.array(list("aabb"))
    inputs = {"scores": np.array([4.0, 3.0, 2.0, 1.0])}
    query = make_query("uncertainty", 2, pool=pool, inputs=inputs, per_label=1)
    assert select("uncertainty", query).indices.tolist() == [0, 2]
    predicted = dataclasses.replace(query, classes=np.array(list("bbba")))
    assert select("uncertainty", predicted).indices.tolist() == [3, 0]


def test_stochastic_batches_are_taken_whole_and_the_last_is_cut():
    scores = np.random.default_rng(1).random(23)
    indices, values = choose("stochastic_batches", 12, (4, 9), scores=scores, options={"sbatch_size": 5})
    assert (np.diff(values) <= 0).all()
    for start, stop in ((0, 5), (5, 10)):
        np.testing.assert_allclose(values[start:stop], scores[indices[start:stop]].mean(), rtol=1e-12)
    assert len({choose("stochastic_batches", 12, scores=scores, seed=seed)[0][0] for seed in range(5)}) > 1


@pytest.mark.parametrize("neighbours", [1, 4])
def test_typicality(neighbours):
    features = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    features[4] = features[2]  # neighbours at distance 0 are not the unit itself
    np.testing.assert_allclose(typicality(features, neighbours), reference.typicality(features, neighbours), rtol=1e-6)


def test_typiclust_takes_the_densest_of_the_largest_cluster_without_annotation():
    # Three groups: 7 units round 0 (one annotated), 8 round 10 (densest at 10.5), 6 round 20.
    places = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 10.4, 10.5, 10.6, 12, 13, 20, 21, 21.9, 22, 22.1, 24]
    clusters = np.repeat([0, 1, 2], [7, 8, 6])
    query = query_of("typiclust", 3, (0,), features=on_a_line(places))
    chosen, values = typical_units(query, clusters, min_cluster_size=5, k_nn=2)
    assert chosen[:2].tolist() == [11, 18]
    assert values[:2] == pytest.approx([1 / 0.10001, 1 / 0.10001], rel=1e-5)
    assert chosen[2] in (2, 3, 4, 5)  # equally typical: the generator decides
    chosen, _ = typical_units(query, clusters, min_cluster_size=7, k_nn=2)
    assert chosen[0] == 11 and (clusters[chosen] == 1).all()


def test_two_members_are_equally_typical():
    features = on_a_line([0, 1, 10])
    found = {
        typical_units(
            query_of("typiclust", 1, seed=seed, features=features), np.array([0, 0, 1]), min_cluster_size=1, k_nn=20
        )[0][0]
        for seed in range(10)
    }
    assert found == {0, 1}


def test_typiclust_fills_up_when_clusters_are_used_up():
    query = query_of("typiclust", 4, (0, 1, 2), features=on_a_line([0, 1, 2, 9, 10, 11, 20, 30]))
    clusters = np.array([0, 0, 0, 1, 1, 1, 2, 3])
    chosen, values = typical_units(query, clusters, min_cluster_size=2, k_nn=20)
    assert sorted(clusters[chosen]) == [1, 1] and np.isfinite(values).all()  # two turns of the annotated one yield none
    indices, values = choose("typiclust", 6, (0,), features=np.random.default_rng(0).normal(size=(9, 2)))
    assert len(indices) == 6


def test_empty_clusters_are_left_out():
    labels = cluster_units(on_a_line([1, 1, 1, 5, 5]), 4, rng=np.random.default_rng(0))
    assert labels[:3].tolist() == [labels[0]] * 3 and labels[3:].tolist() == [1 - labels[0]] * 2
    many = cluster_units(np.random.default_rng(0).normal(size=(70, 2)), 60, rng=np.random.default_rng(0))
    assert sorted(set(many.tolist())) == list(range(many.max() + 1)) and many.max() > 30


def test_probcover_by_hand():
    # Balls of radius 1: round 1 four units, round 6 three, 9 alone; 20 is annotated and covers 21.
    features = on_a_line([0, 1, 1.5, 2, 5, 6, 7, 9, 20, 21])
    options = {"delta": 1.0, "normalise": False}
    indices, values = choose("probcover", 3, (8,), features=features, options=options)
    assert indices == [1, 5, 7]
    np.testing.assert_allclose(values, [0.4, 0.3, 0.1])
    indices, values = choose("probcover", 5, (8,), features=features, options=options)
    assert values[3:].tolist() == [0, 0]  # all is covered; the rest is random


@pytest.mark.parametrize("labelled", [(), (3, 50)])
@pytest.mark.parametrize("seed", [0, 1])
def test_probcover_equals_the_loops(labelled, seed):
    features = np.random.default_rng(seed).normal(size=(70, 3))
    rows = unit_rows(features)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
    query_values = {"features": features}
    _, shares = reference.ball_cover(rows, 0.4, labelled, 6)
    indices, values = choose("probcover", 6, labelled, options={"delta": 0.4}, **query_values)
    assert values[0] == pytest.approx(shares[0])
    # With ties the loops may go another way; each pick must be the best after those before it.
    for step in range(6):
        _, best_share = reference.ball_cover(rows, 0.4, [*labelled, *indices[:step]], 1)
        assert values[step] == pytest.approx(best_share[0])


def test_purity_radius_is_the_largest_pure_one():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[:30] += 4
    radius = purity_radius(rows, purity=0.9, num_clusters=2, rng=np.random.default_rng(0))
    clusters = cluster_units(rows, 2, rng=np.random.default_rng(0))
    assert reference.pure_share(rows, clusters, radius) >= 0.9
    assert reference.pure_share(rows, clusters, radius * 1.001) < 0.9
    assert purity_radius(np.ones((5, 2)), purity=0.9, num_clusters=3, rng=np.random.default_rng(0)) == 0


@pytest.mark.parametrize("labelled", [(), (3, 50)])
@pytest.mark.parametrize("name", ["maxherding", "uncertainty_herding"])
def test_herding_equals_the_loops(name, labelled):
    rng = np.random.default_rng(4)
    features, scores = rng.normal(size=(66, 3)), rng.random(66) if name == "uncertainty_herding" else np.ones(66)
    weights = np.where(np.isin(np.arange(66), labelled), 0, scores)
    rows = unit_rows(features)
    width = 0.3
    expected, added = reference.kernel_cover(rows, width, weights, list(labelled), 5)
    indices, values = choose(name, 5, labelled, features=features, scores=scores, options={"bandwidth": width})
    assert indices == expected
    np.testing.assert_allclose(values, added, rtol=1e-9)


def test_uncertainty_herding_narrows_with_the_annotated_units():
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [3.0, 5.0]])
    assert smallest_distance(rows) == pytest.approx(1.0)
    assert smallest_distance(rows[:2]) == pytest.approx(5.0)
    assert smallest_distance(rows[:1]) == smallest_distance(rows[1:3]) == 1.0
    # Two far groups: with equal scores the larger one is served first, with unequal ones the uncertain one.
    features, options = on_a_line([0, 0.1, 0.2, 9, 9.1]), {"normalise": False, "bandwidth": 0.5}
    assert choose("uncertainty_herding", 1, features=features, scores=np.ones(5), options=options)[0] == [1]
    scores = np.array([0.1, 0.1, 0.1, 0.9, 0.9])
    assert choose("uncertainty_herding", 1, features=features, scores=scores, options=options)[0][0] in (3, 4)
    scores = scores - 1  # negative scores keep their order
    assert choose("uncertainty_herding", 1, features=features, scores=scores, options=options)[0][0] in (3, 4)


class Odds:
    """A generator that draws the first possible place and remembers the odds."""

    def __init__(self):
        self.odds = []

    def choice(self, count, p):
        self.odds.append(p.tolist())
        return int(np.flatnonzero(p)[0])


def test_badge_draws_in_proportion_to_squared_distances():
    gradients = np.array([[0, 0], [5, 0], [0, 1], [0, 2], [4, 0]], np.float32)
    query = query_of("badge", 3, (0,), gradients=gradients)
    object.__setattr__(query, "rng", Odds())
    choice = select("badge", query, {"first": "largest"})
    # The longest gradient, then squared distances 26, 29, 1 to it, then 0, 1, 1 to the nearer one of two.
    assert choice.indices.tolist() == [1, 2, 3]
    np.testing.assert_allclose(query.rng.odds, [[0, 26 / 56, 29 / 56, 1 / 56], [0, 0, 0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(choice.values, [np.nan, np.sqrt(26), 1.0], rtol=1e-6)
    first = {choose("badge", 1, (0,), seed=seed, gradients=gradients)[0][0] for seed in range(40)}
    assert first == {1, 2, 3, 4}


def volume_query(name, budget, labelled=(), seed=0, depths=(7, 5, 6, 4, 8)):
    pool = make_units(depths)
    indices = select(name, make_query(name, budget, labelled, seed=seed, pool=pool)).indices
    return [(int(pool.volumes[i]), int(pool.positions[i])) for i in indices]


def test_equispaced_by_hand():
    assert sorted(volume_query("equispaced", 4, depths=[8, 6])) == [(0, 2), (0, 6), (1, 1), (1, 4)]
    # Two slices of the first volume are annotated already, so that the second volume gets the first two.
    assert sorted(volume_query("equispaced", 2, (0, 1), depths=[8, 6])) == [(1, 1), (1, 4)]
    # A volume that is used up leaves its share to the other.
    assert sorted(volume_query("equispaced", 4, depths=[1, 6])) == [(0, 0), (1, 1), (1, 3), (1, 5)]


@pytest.mark.parametrize("budget", [3, 8, 17])
def test_equispaced_serves_volumes_equally(budget):
    for seed in range(3):
        found = [volume for volume, _ in volume_query("equispaced", budget, seed=seed)]
        counts = np.bincount(found, minlength=5)
        assert counts.max() - counts[counts < [7, 5, 6, 4, 8]].min(initial=9) <= 1


def test_mid_slice_by_hand():
    assert sorted(volume_query("mid_slice", 2, depths=[5, 7])) == [(0, 2), (1, 3)]
    found = volume_query("mid_slice", 5, depths=[5, 7])
    assert set(found[2:4]) <= {(0, 1), (0, 3), (1, 2), (1, 4)} and {volume for volume, _ in found[2:4]} == {0, 1}
    # The annotated slice of the first volume counts as its first round.
    assert volume_query("mid_slice", 1, (2,), depths=[5, 7]) == [(1, 3)]


def test_middle_is_counted_in_slices_that_exist():
    query = make_query("mid_slice", 1, pool=make_units([5]))
    query.pool.positions[:] = [0, 1, 2, 10, 40]
    assert select("mid_slice", query).indices.tolist() == [2]


WRONG = {
    "badge": {"first": "median"},
    "coregcn": {"starting_sample": 0, "hidden_units": 0, "subset_size": 0, "dropout_rate": 1.0, "num_epochs_gcn": 0},
    "maxherding": {"bandwidth": 0.0},
    "mfc": {"metric": "euclidian", "pos_wt": -1},
    "pkcenter": {"temp_init": 0, "temp_scale": "iter"},
    "probcover": {"delta": 0.0, "purity": 1.0, "num_clusters": 1},
    "stochastic_batches": {"sbatch_size": 0},
    "typiclust": {"k_nn": 0, "max_num_clusters": 0},
    "uncertainty_herding": {"bandwidth": float("inf")},
}


@pytest.mark.parametrize("name", WRONG)
def test_options_out_of_range_are_refused_together(name):
    with pytest.raises(ConfigError) as caught:
        select(name, make_query(name, 4), WRONG[name])
    assert all(f"{option!r} must be" in str(caught.value) for option in WRONG[name])
