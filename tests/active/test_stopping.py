"""What ends an experiment before its last round. Expected values: by hand."""

import json

import pytest

from fewslice.active import stopping
from fewslice.active.labels import Labels
from fewslice.core.errors import ConfigError
from fewslice.settings.experiment import Stop
from tests.active.test_loop import IGNORE, contents, make_loop, plans
from tests.reference.scores import published_stands_still


class Numbers:
    """A learner whose validation Dice are these."""

    def __init__(self, *values):
        self.values, self.calls = values, []

    def __call__(self, folder, plan, labels):
        self.calls.append(plan.number)
        (folder / "member_0").mkdir()
        (folder / "member_0" / "weights.txt").write_text(str(plan.number))
        return {"val_dice": self.values[plan.number], "test_dice": 0.5}


@pytest.mark.parametrize(("stop", "rounds", "words"), [
    (None, 4, ""),
    (Stop(budget=4), 3, "4 units were annotated after the first round"),
    (Stop(budget=6), 4, ""),  # met by the last round: nothing is left to end
    (Stop(metric="val_dice", patience=1, epsilon=0.011), 3, "`stop.metric: val_dice` has not changed for 1 rounds ("),
    (Stop(uncertainty=0.9), 2, "the mean score 0."),
    (Stop(uncertainty=0.0), 4, ""),
])  # fmt: skip
def test_ends_after_the_first_round_that_meets_it_and_stays_ended(tmp_path, stop, rounds, words):
    learner = Numbers(0.1, 0.3, 0.31, 0.5)
    loop = make_loop(tmp_path, learner=learner, stop=stop)
    labels, why = loop.run(plans(2, 4, 6, 8))
    assert learner.calls == list(range(rounds)) and len(labels) == 2 * rounds and why.startswith(words)
    assert bool(why) == bool(words)
    before = contents(tmp_path)
    assert loop.run(plans(2, 4, 6, 8))[1] == why and contents(tmp_path) == before
    start = Labels(loop.pool, IGNORE)
    assert stopping.are_finished(tmp_path, start, 4, stop) == (True, why)
    loop = make_loop(tmp_path, learner=learner)  # without it the rest is done
    assert stopping.are_finished(tmp_path, start, 4) == (rounds == 4, "")
    assert len(loop.run(plans(2, 4, 6, 8))[0]) == 8


def test_the_mean_score_is_kept_where_it_counts(tmp_path):
    make_loop(tmp_path / "without", learner=Numbers(0.1, 0.2)).run(plans(2, 4))
    make_loop(tmp_path / "with", learner=Numbers(0.1, 0.2), stop=Stop(uncertainty=0.1)).run(plans(2, 4))
    assert not list((tmp_path / "without").glob("rounds/*/uncertainty.json"))
    (path,) = (tmp_path / "with").glob("rounds/001/uncertainty.json")
    assert 0.3 < json.loads(path.read_text())["mean"] < 0.7


@pytest.mark.parametrize(("values", "ours", "published"), [
    ([0.3, 0.3], False, False),
    ([0.3, 0.3, 0.3], False, True),  # published: one round earlier where there are no other values
    ([0.1, 0.3, 0.3, 0.31], False, False),
    ([0.1, 0.3, 0.3, 0.3, 0.301], True, True),
    ([0.3, 0.3, 0.3, 0.2], False, False),  # a loss is a change
    ([0.3, 0.3, 0.3, float("nan")], False, False),
])  # fmt: skip
def test_a_number_stands_still(values, ours, published):
    assert stopping.stands_still(values, 3, 0.005) is ours
    assert published_stands_still(values, 3, 0.005) is published


def test_an_unknown_number_is_told(tmp_path):
    loop = make_loop(tmp_path, learner=Numbers(0.1, 0.2), stop=Stop(metric="val_dic"))
    with pytest.raises(ConfigError, match="`stop.metric`: .*metrics.json has no number 'val_dic'. It has .*val_dice"):
        loop.run(plans(2, 4))
