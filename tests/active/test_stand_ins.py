"""What a choice stands for, and what it cannot know. Expected values: by hand."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fewslice.active.pool import make_pool
from fewslice.active.stand_ins import doubts, nearest_chosen, write_stand_ins
from fewslice.active.units import Case

ROWS = np.array([[0.0], [1.0], [4.0], [9.0], [9.0]], np.float32)


def pool(*patients):
    return make_pool([Case(f"{n}", patient, (depth, 2, 2)) for n, (patient, depth) in enumerate(patients)])


def test_every_unit_has_its_nearest_chosen_one():
    places, distances = nearest_chosen(ROWS, np.array([4, 0, 3]))
    assert places.tolist() == [1, 1, 1, 2, 0]  # equal embeddings: a chosen unit stands for itself
    assert distances.tolist() == [0.0, 1.0, 4.0, 0.0, 0.0]


def test_the_file(tmp_path):
    units = pool(("a", 3), ("b", 2))
    counts = write_stand_ins(tmp_path / "stands_for.csv", units, np.array([0, 3]), ROWS)
    with open(tmp_path / "stands_for.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert counts.tolist() == [3, 2] and [row["unit_id"] for row in rows] == units.unit_ids.tolist()
    assert rows[2] == {"unit_id": "0_slice_02", "chosen": "0_slice_00", "distance": "4"}
    assert write_stand_ins(tmp_path / "no.csv", units, np.array([], np.int64), ROWS).tolist() == []


@pytest.mark.parametrize(
    ("patients", "chosen", "features", "words"),
    [
        ([("a", 3), ("b", 2)], [0, 3], ROWS, []),
        ([("a", 3), ("b", 2)], [0, 3], np.ones((5, 2)), ["All embeddings are equal"]),
        ([("a", 3), ("b", 2)], [0, 2], ROWS, ["All 2 chosen slices are of one patient (a) of 2"]),
        ([("a", 3), ("b", 2)], [0], ROWS, []),
        ([("a", 3), ("a", 2)], [0, 3], None, ["The pool holds one patient (a)"]),
    ],
)
def test_what_a_choice_cannot_know(patients, chosen, features, words):
    notes = doubts(pool(*patients), np.array(chosen), features)
    assert len(notes) == len(words) and all(word in note for word, note in zip(words, notes, strict=True))
