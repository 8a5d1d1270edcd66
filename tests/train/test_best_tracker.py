"""Which step of a run is the best.

Expected values: hand-made histories, and recorded names of the published code's files (golden).
"""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from fewslice.train.trainer import BestTracker
from tests.golden_files import golden_param


@pytest.mark.parametrize(
    "values, improved, best_step",
    [
        ([0.0, 0.0, 0.1], [True, False, True], 2),  # the first check counts even if nothing was found
        ([0.5, 0.5 + 0.9e-7, 0.5 + 2e-7], [True, False, True], 2),
        ([math.nan, 0.2, math.nan, 0.1], [False, True, False, False], 1),
        ([-1.0, -0.5], [True, True], 1),
    ],
    ids=["first", "threshold", "nan", "negative"],
)
def test_tracker(values, improved, best_step):
    tracker = BestTracker()
    assert [tracker.update(step, value) for step, value in enumerate(values)] == improved
    assert tracker.best == values[best_step] and tracker.best_step == best_step
    assert tracker.last_step == len(values) - 1


@pytest.mark.parametrize("cut", [0, 3])
def test_tracker_resumes_exactly(cut):
    values = np.random.default_rng(0).random(7)
    whole = BestTracker()
    expected = [whole.update(step, value) for step, value in enumerate(values)]
    tracker = BestTracker()
    found = [tracker.update(step, value) for step, value in enumerate(values[:cut])]
    text = json.dumps(tracker.state()).replace("-Infinity", "null")
    tracker = BestTracker()
    tracker.load_state(json.loads(text))
    found += [tracker.update(step, value) for step, value in enumerate(values[cut:], start=cut)]
    assert found == expected and tracker.state() == whole.state()


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "checkpoint_choice*.json"))
def test_golden_checkpoint_choice(path):
    """Published: the "best" file of the largest iteration, and the largest of all. Ours: the best value.

    Since a best file is written only at an improvement, both choose the same; ours also where the best is
    at iteration 0, which the published rule can never choose.
    """
    recorded = json.loads(path.read_text())
    best, last = (int(re.findall(r"\d+", recorded[key])[-1]) for key in ("get_max_chkpt_file", "get_chkpt_file"))
    tracker = BestTracker()
    history = {0: 0.1, 400: 0.5, best: 0.7, last: 0.6}
    written = [step for step, value in sorted(history.items()) if tracker.update(step, value)]
    assert written == [0, 400, best]
    assert (tracker.best_step, tracker.last_step) == (best, last)
    early = BestTracker()
    assert early.update(0, 0.9) and not early.update(400, 0.5) and early.best_step == 0


def test_of_losses_the_lowest_and_of_equal_ones_the_latest():
    values = [math.nan, 0.5, 0.5, 0.7, 0.3, 0.3, math.nan]
    tracker = BestTracker(is_loss=True)
    tracker.load_state(json.loads(json.dumps(tracker.state()).replace("Infinity", "null")))
    found = [tracker.update(step, value) for step, value in enumerate(values)]
    assert found == [False, True, True, False, True, True, False] and tracker.best_step == 5
