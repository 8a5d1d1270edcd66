"""Greedy k-center. Expected values: by hand, tests/reference/kcenter.py, and per-pick NumPy float64 differences."""

import numpy as np
import pytest

from fewslice.active.measures import kcenter as engine_module
from fewslice.active.measures.kcenter import euclidean_k_center, greedy
from fewslice.active.measures.pixels import PixelStore
from fewslice.active.query import Query, select
from fewslice.active.strategies import coreset, kcenter, mfc, pkcenter  # noqa: F401 (registers them)
from fewslice.core.errors import ConfigError
from tests.active.measures.plain import PlainDistance
from tests.active.units import make_pool
from tests.reference import kcenter as reference


def query(count, budget, labelled=(), seed=0, **parts):
    names = [f"unit{n}" for n in range(count)]
    pool = make_pool(names, np.arange(count) // 4, np.arange(count) // 4, np.arange(count) % 4)
    is_labelled = np.isin(np.arange(count), labelled)
    rng = np.random.default_rng(seed)
    return Query(pool=pool, is_labelled=is_labelled, budget=budget, rng=rng, ignore_value=4, **parts)


def plain(features, budget, labelled, first):
    """The per-pick update: all distances to the newest centre, float64 differences."""
    features = features.astype(np.float64)
    nearest, free = np.full(len(features), np.inf), np.ones(len(features), bool)
    indices, values = [], []
    for centre in labelled:
        nearest = np.minimum(nearest, np.sqrt(((features - features[centre]) ** 2).sum(axis=1)))
        free[centre] = False
    for step in range(budget):
        drawn = step == 0 and not len(labelled)
        index = int(first) if drawn else int(np.argmax(np.where(free, nearest, -np.inf)))
        indices.append(index)
        values.append(np.nan if drawn else nearest[index])
        free[index] = False
        nearest = np.minimum(nearest, np.sqrt(((features - features[index]) ** 2).sum(axis=1)))
    return indices, values


ENGINES = {
    "greedy": lambda features, budget, **more: greedy(PlainDistance(features), budget, **more),
    "euclidean": euclidean_k_center,
}


@pytest.fixture(params=ENGINES, name="engine")
def _engine(request):
    return ENGINES[request.param]


def test_by_hand(engine):
    features = np.array([[0.0], [1.0], [4.0], [10.0], [6.0]])
    choice = engine(features, 4, labelled=[0], rng=np.random.default_rng(0))
    # 10 is farthest; then 4 and 6 are both 4 away and the lower index comes first; then 6 is 2 away, 1 is 1 away
    assert choice.indices.tolist() == [3, 2, 4, 1]
    assert choice.values.tolist() == [10.0, 4.0, 2.0, 1.0]


def random_features(seed):
    rng = np.random.default_rng(seed)
    count, columns = int(rng.integers(2, 150)), int(rng.choice([1, 2, 3, 40, 1500]))
    kind = seed % 4
    if kind == 0:  # integers: many equal distances
        values = rng.integers(0, 3, (count, columns)).astype(float)
    elif kind == 1:  # far from the origin: single precision decides little
        values = rng.normal(size=(count, columns)) + 1000
    else:
        values = rng.normal(size=(count, columns))
    values[count // 2] = values[0]
    values[-1] = values[1]
    labelled = rng.permutation(count)[: rng.integers(0, count // 3 + 1)]
    budget = int(rng.integers(1, count - len(labelled) + 1))
    return values.astype(rng.choice(["f2", "f4", "f8"])), budget, labelled


@pytest.mark.parametrize("seed", range(24))
def test_same_picks_and_values_as_the_update_per_pick(seed, monkeypatch):
    monkeypatch.setattr(engine_module, "SMALLEST_BLOCK", 8)
    monkeypatch.setattr(engine_module, "SWEEP_CENTRES", 5)
    monkeypatch.setattr(engine_module, "PASS_CENTRES", 7)
    features, budget, labelled = random_features(seed)
    choice = euclidean_k_center(features, budget, labelled=labelled, rng=np.random.default_rng(seed))
    indices, values = plain(features, budget, labelled, choice.indices[0])
    assert choice.indices.tolist() == indices
    np.testing.assert_array_equal(choice.values, values)


@pytest.mark.parametrize("scale", [1e-12, 1e15])
def test_tiny_and_large_values(scale):
    features = np.random.default_rng(0).normal(size=(20, 4)) * scale
    choice = euclidean_k_center(features, 10, labelled=[2], rng=np.random.default_rng(0))
    assert choice.indices.tolist() == plain(features, 10, [2], None)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_no_distance_is_refused(value):
    features = np.zeros((9, 2))
    features[4] = value
    with pytest.raises(ConfigError, match="index 4"):
        euclidean_k_center(features, 3, labelled=[2], rng=np.random.default_rng(0))
    if not value < np.inf:
        with pytest.raises(ConfigError, match="index 4, to unit 2 is not a finite number"):
            greedy(PlainDistance(features), 3, labelled=[2], rng=np.random.default_rng(0))


def test_all_alike_are_taken_in_order(engine):
    choice = engine(np.ones((8, 3), np.float32), 5, labelled=[2], rng=np.random.default_rng(0))
    assert choice.indices.tolist() == [0, 1, 3, 4, 5]
    assert choice.values.tolist() == [0.0] * 5


def test_first_unit_is_drawn_from_the_generator(engine):
    features = np.random.default_rng(0).normal(size=(40, 2))
    first = {int(engine(features, 2, labelled=[], rng=np.random.default_rng(seed)).indices[0]) for seed in range(12)}
    assert len(first) > 4
    again = [engine(features, 5, labelled=[], rng=np.random.default_rng(3)).indices.tolist() for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_margin_holds(offset):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(200, 1300)) + offset).astype(np.float32)
    lengths = engine_module.finite_norms(rows)
    product = engine_module.products(rows[:9], rows).astype(float)
    approximate = np.square(lengths) + np.square(lengths[:9])[:, None] - 2 * product
    true = np.square(rows[:9, None].astype(float) - rows.astype(float)).sum(axis=2)
    assert (np.abs(approximate - true) <= engine_module.margin(lengths, lengths[:9].max(), 1300)).all()


def test_strategies_agree():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (30, 4, 5)).astype(np.uint8)
    rows = pixels.reshape(30, -1)
    expected = plain(rows, 7, [3, 8], None)[0]
    assert select("kcenter", query(30, 7, [3, 8], features=rows)).indices.tolist() == expected
    for given in (pixels, PixelStore(np.ascontiguousarray(rows.T), (4, 5))):
        assert select("coreset", query(30, 7, [3, 8], pixels=given)).indices.tolist() == expected


@pytest.mark.parametrize("labelled", [(), (3, 8)], ids=["none", "two"])
@pytest.mark.parametrize("scale", [None, "inv_iter"])
def test_probabilistic_equals_the_loops(labelled, scale):
    features = np.random.default_rng(1).normal(size=(25, 3))
    choice = select("pkcenter", query(25, 9, labelled, seed=5, features=features), {"temp_scale": scale})
    expected = reference.probabilistic(
        features, 9, np.random.default_rng(5), already=labelled, temp_scale=scale, distinct=True
    )
    assert choice.indices.tolist() == expected
