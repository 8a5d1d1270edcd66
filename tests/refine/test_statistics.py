"""Statistics of refinement. Expected values are counted by hand."""

import math

import numpy as np
import pytest

from fewslice.refine import statistics

BEFORE = np.array([[[0, 1, 1], [0, 2, 0]], [[0, 0, 2], [0, 0, 0]]])
AFTER = np.array([[[0, 1, 0], [3, 0, 0]], [[0, 0, 0], [0, 0, 0]]])


def test_volume_by_hand():
    found = statistics.refinement_statistics(BEFORE, AFTER, 4)
    assert found.changed == pytest.approx(4 / 12)
    assert found.changed_foreground == pytest.approx(4 / 5)
    assert found.before.tolist() == [8, 2, 2, 0] and found.after.tolist() == [10, 1, 0, 1]
    assert found.lost == (2,) and found.slices_lost.tolist() == [0, 0, 2, 0]
    assert found.as_dict()["lost"] == [2]


def test_total_by_hand():
    same = statistics.refinement_statistics(BEFORE[:1], BEFORE[:1], 4)
    found = statistics.total([same, statistics.refinement_statistics(BEFORE, AFTER, 4)])
    assert found.changed == pytest.approx(4 / 18) and found.changed_foreground == pytest.approx(4 / 8)
    assert found.before.tolist() == [11, 4, 3, 0] and found.after.tolist() == [13, 3, 1, 1]
    assert found.volumes_lost.tolist() == [0, 0, 1, 0] and found.slices_lost.tolist() == [0, 0, 2, 0]


def test_no_foreground_has_no_share():
    found = statistics.refinement_statistics(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), np.uint8), 2)
    assert found.changed == 0.0 and math.isnan(found.changed_foreground)
    assert found.as_dict()["changed_foreground"] is None


def test_agreement_by_hand():
    np.testing.assert_allclose(statistics.agreement(BEFORE, AFTER, 5), [14 / 18, 2 / 3, 0.0, 0.0, np.nan])


@pytest.mark.parametrize(
    "before, after, words",
    [
        (BEFORE, AFTER[:1], "must both be"),
        (BEFORE[0], AFTER[0], "must both be"),
        (BEFORE, AFTER + 1, r"0 \.\.\. 3\. Received: 1 \.\.\. 4"),
        (BEFORE.astype(float), AFTER, "must hold integers"),
    ],
    ids=["shapes", "one slice", "range", "float"],
)
def test_wrong_labels(before, after, words):
    with pytest.raises(ValueError, match=words):
        statistics.refinement_statistics(before, after, 4)


def test_total_of_nothing():
    with pytest.raises(ValueError, match="must not be empty"):
        statistics.total([])
