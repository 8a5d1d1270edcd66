"""The hedge of slices at equal distances and a strategy. Expected values: by hand; for all strategies, its words."""

import dataclasses
import math

import numpy as np
import pytest

from fewslice.active.query import STRATEGIES, select
from fewslice.active.safe import QUOTA, select_safely
from fewslice.core.errors import ConfigError
from tests.active.units import make_query, make_units

QUICK = {"coregcn": {"num_epochs_gcn": 5}}
FREE = [name for name in STRATEGIES.names() if not STRATEGIES.get(name).needs_labelled]


def test_by_hand():
    """Two volumes of five slices; the most uncertain ones are all in the first."""
    pool = make_units((5, 5))
    scores = np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.5, 0.4, 0.2, 0.3, 0.35])
    query = make_query("uncertainty", 4, pool=pool, inputs={"scores": scores})
    found = select_safely("uncertainty", query)
    assert sorted(found.indices[:2].tolist()) == [2, 7] and np.isnan(found.values[:2]).all()  # the middle ones
    assert found.indices[2:].tolist() == [0, 1] and found.values[2:].tolist() == [0.9, 0.8]  # quota: ceil(2 * 4 / 2)
    scores = np.r_[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, np.zeros(14)]
    query = make_query("uncertainty", 8, pool=make_units((5, 5, 5, 5)), inputs={"scores": scores})
    found = select_safely("uncertainty", query)
    assert sorted(found.indices[:4].tolist()) == [2, 7, 12, 17]
    assert found.indices[4:].tolist() == [0, 1, 3, 5]  # quota: ceil(2 * 8 / 4), so 4 gives way to the best elsewhere


@pytest.mark.parametrize("budget", [2, 7, 12])
@pytest.mark.parametrize("name", FREE)
def test_quota_halves_and_the_same_generator(name, budget):
    query = make_query(name, budget, (0, 3), seed=1)
    found, again = (select_safely(name, make_query(name, budget, (0, 3), seed=1), QUICK.get(name)) for _ in range(2))
    np.testing.assert_array_equal(found.indices, again.indices)
    assert found.indices.shape == found.values.shape == (budget,) and len(set(found.indices.tolist())) == budget
    assert not set(found.indices.tolist()) & {0, 3}
    volumes = query.pool.volumes
    shares = [(volumes[found.indices] == volume).sum() for volume in np.unique(volumes)]
    assert max(shares) <= math.ceil(QUOTA * budget / len(shares))
    half = budget - budget // 2
    first = select("equispaced", make_query("equispaced", half, (0, 3), seed=1))
    np.testing.assert_array_equal(found.indices[:half], first.indices)


def test_few_volumes_left_and_all_that_is_left():
    labelled = [unit for unit in range(30) if unit >= 7]  # only the first volume, of seven slices, has units left
    query = make_query("uncertainty", 4, labelled)
    found = select_safely("uncertainty", query)
    rest = [unit for unit in np.argsort(-query.scores[:7]) if unit not in found.indices[:2]]
    assert found.indices[2:].tolist() == rest[:2], "the quota of ceil(8 / 5) = 2 gives way, the rank does not"
    query = make_query("uncertainty", 7, labelled)
    assert sorted(select_safely("uncertainty", query).indices.tolist()) == list(range(7))
    assert len(select_safely("uncertainty", make_query("uncertainty", 1)).indices) == 1
    assert len(select_safely("uncertainty", make_query("uncertainty", 0)).indices) == 0


def test_rules_are_refused():
    query = dataclasses.replace(make_query("uncertainty", 4), case_cap=1)
    with pytest.raises(ConfigError, match="'equispaced' obeys no rules"):
        select_safely("uncertainty", query)
