"""How many units are annotated after each round.

Expected values: by hand, and the budget tables of `coreclr_splits.json`, recorded from the published code.
"""

from __future__ import annotations

import itertools
import json

import pytest

from fewslice.core.errors import ConfigError
from fewslice.settings.budgets import cumulative_budgets, cumulative_shares
from tests.golden_files import ROOT

LISTS = ROOT.parent / "spec" / "coreclr_splits.json"
STANDARD = [0.01] * 5 + [0.05] * 3 + [0.2]


def published(rounds, count):
    """Returns the sums and the budgets as the published code has them: with binary floating-point numbers."""
    sums = list(itertools.accumulate(map(float, rounds)))
    return sums, tuple(min(count, int(count * share)) for share in sums)


def test_acdc():
    found = cumulative_budgets(STANDARD, 1454)
    assert found == (14, 29, 43, 58, 72, 145, 218, 290, 581) == published(STANDARD, 1454)[1]


def test_shares_are_decimal_numbers():
    tenths = [0.1] * 10
    assert cumulative_budgets(tenths, 10) == tuple(range(1, 11))
    assert published(tenths, 10)[1] == (1, 2, 3, 4, 5, 6, 7, 7, 9, 9)
    assert float(cumulative_shares(STANDARD)[6]) == 0.15
    assert cumulative_budgets([0.7, 0.1], 10) == (7, 8) and cumulative_budgets([1.0], 7) == (7,)


def test_published_rounds_do_not_depend_on_the_arithmetic():
    for rounds in (STANDARD, [0.1] * 4):
        for count in (*range(1, 1200), 1454, 2079, 2351, 18808):
            assert cumulative_budgets(rounds, count) == published(rounds, count)[1]


def test_numbers_of_units():
    assert cumulative_budgets([3, 0, 4], 10) == (3, 3, 7)
    assert list(map(float, cumulative_shares([3, 0, 4], 10))) == [0.3, 0.3, 0.7]


@pytest.mark.golden
def test_budget_tables():
    if not LISTS.is_file():
        pytest.skip(f"no {LISTS}")
    for facts in json.loads(LISTS.read_text()).values():
        for rows in facts.get("budget_table", {}).values() if isinstance(facts, dict) else ():
            shares = [float(row[0]) for row in rows]
            rounds = [round(b - a, 10) for a, b in zip([0, *shares], shares, strict=False)]
            count = facts["num_train_slices"]
            assert [repr(share) for share in published(rounds, count)[0]] == [row[0] for row in rows]
            for found in (cumulative_budgets(rounds, count), published(rounds, count)[1]):
                assert list(found) == [row[2] for row in rows]
                assert [b - a for a, b in zip((0, *found), found, strict=False)] == [row[1] for row in rows]


@pytest.mark.parametrize(
    "rounds, count, words",
    [([0.5, 0.6], 10, "add up to 1.1"), ([-0.1], 10, "0 or more"), ([float("nan")], 10, "0 or more"),
     ([0.1], 0, "at least one unit"), ([True], 10, "0 or more"), ([6, 5], 10, "11 units, and the pool has 10"),
     ([1, 0.5], 10, "all shares or all numbers")],
)  # fmt: skip
def test_false_budgets(rounds, count, words):
    with pytest.raises(ConfigError, match=words):
        cumulative_budgets(rounds, count)
