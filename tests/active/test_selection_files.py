"""Choices on disk, lists of annotated units, budgets. Expected values: by hand."""

import csv

import numpy as np
import pytest

from fewslice.active.query import Choice
from fewslice.active.selection_files import (
    budget_units,
    read_labelled,
    read_query,
    read_scores,
    write_query,
    write_selection,
)
from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError
from tests.active.units import make_units

POOL = make_units()
CHOICE = Choice(np.array([7, 0, 29]), np.array([0.1 + 0.2, np.nan, -3.0]))


@pytest.mark.parametrize(
    ("text", "count", "units"),
    [("12", 5, 12), ("0", 9, 0), ("5%", 1902, 95), ("5 %", 99, 4), ("0.1%", 30, 1), ("0%", 30, 0), ("100%", 7, 7)]
    + [("29%", 100, 29), ("12.5%", 8, 1), (".5%", 1000, 5), ("50.%", 3, 1)],
)
def test_budgets(text, count, units):
    assert budget_units(text, count) == units


@pytest.mark.parametrize("text", ["", "five", "-3", "5.5", "1e3", "%", "5%%", "nan", "٣"])
def test_a_wrong_budget(text):
    with pytest.raises(ConfigError, match="a number of units, such as 12, or a share of the pool, such as 5%"):
        budget_units(text, 100)
    with pytest.raises(ConfigError, match="more than 100%"):
        budget_units("100.1%", 100)


def test_query_comes_back(tmp_path):
    path = tmp_path / "query.csv"
    write_query(path, POOL, CHOICE)
    assert path.read_text().splitlines()[:3] == [
        "order,index,unit_id,patient,volume,position,value",
        "1,7,volume1_slice0,0,1,0,0.30000000000000004",
        "2,0,volume0_slice0,0,0,0,",
    ]
    found = read_query(path, POOL)
    assert found.indices.tolist() == [7, 0, 29] and np.array_equal(found.values, CHOICE.values, equal_nan=True)
    write_query(path, POOL, Choice(np.empty(0, np.int64), np.empty(0)))
    assert read_query(path, POOL).indices.shape == (0,)


def change(path, line, **cells):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    rows[line] |= cells
    files.write_csv(path, rows)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"unit_id": "volume0_slice99"}, "line 3: Unknown unit 'volume0_slice99'. Did you mean 'volume0_slice"),
        ({"unit_id": "volume1_slice0"}, "line 3: volume1_slice0 for the second time"),
        ({"index": "1.5"}, "line 3: index='1.5' for 0"),
        ({"index": "4"}, "line 3: index='4' for 0"),
        ({"order": "3"}, "line 3: order='3' for 2"),
        ({"position": "2"}, "line 3: position='2' for 0"),
        ({"patient": "x"}, "line 3: patient='x' for 0"),
        ({"value": "much"}, "line 3: value='much' is not a number"),
    ],
)
def test_a_query_that_does_not_fit(tmp_path, cells, message):
    path = tmp_path / "query.csv"
    write_query(path, POOL, CHOICE)
    change(path, 1, **cells)
    with pytest.raises(DataError) as caught:
        read_query(path, POOL)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_files_that_are_no_query(tmp_path):
    path = tmp_path / "query.csv"
    with pytest.raises(DataError, match="No such file"):
        read_query(path, POOL)
    for text, message in (("unit_id\na\n", "found:    the columns unit_id"), ("", "the columns none")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_query(path, POOL)
    write_query(path, POOL, CHOICE)
    path.write_text(path.read_text() + "4,1\n")
    with pytest.raises(DataError, match="line 5 has another number of cells"):
        read_query(path, POOL)


def test_scores_come_back(tmp_path):
    path = tmp_path / "scores.csv"
    files.write_csv(path, [{"unit_id": "a", "score": 0.1 + 0.2}, {"unit_id": "b", "score": -1.0}])
    assert read_scores(path) == {"a": 0.1 + 0.2, "b": -1.0}
    change(path, 1, score="much")
    with pytest.raises(DataError, match=r"scores.csv\n.*a number as score\n.*'much'"):
        read_scores(path)
    path.write_text("unit_id,value\na,1\n")
    with pytest.raises(DataError, match="the columns unit_id, value"):
        read_scores(path)


def test_labelled_lists(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffnote,unit_id\r\nx, volume0_slice1 \r\ny,volume4_slice7\r\n", encoding="utf-8")
    assert read_labelled(path, POOL).tolist() == [1, 29]
    path.write_text("unit_id\n" + "".join(f"other{n}\n" for n in range(5)))
    with pytest.raises(DataError, match=r"line 2: Unknown unit 'other0'.*line 4: .*'other2'\.; and 2 more"):
        read_labelled(path, POOL)


def test_selection_says_what_was_chosen(tmp_path):
    path, is_labelled = tmp_path / "selection.json", np.arange(30) < 6
    write_selection(path, POOL, is_labelled, CHOICE, facts={"settings": {"seed": 3}})
    found = files.read_json(path)
    assert found["settings"] == {"seed": 3} and found["chosen"][0] == "volume1_slice0"
    assert (found["fraction_before"], found["fraction_chosen"], found["fraction_after"]) == (0.2, 0.1, 0.3)
    assert (found["volumes_chosen"], found["patients_chosen"], found["patients_of_pool"]) == (3, 2, 3)
