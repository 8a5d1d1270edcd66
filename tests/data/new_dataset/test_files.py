"""Lists of patients that grow with new labels. Expected values: by hand, from the rules of the docstring."""

from __future__ import annotations

import pytest

from fewslice.core.errors import ConfigError
from fewslice.data.new_dataset import files
from fewslice.settings.splits import Splits

EVERYONE = [f"p{number:02d}" for number in range(12)]
START = Splits({"unlabeled": {"*": EVERYONE}}, {}, (), ("unlabeled",), "mine")


def extended(old, labelled, *, seed=0, val=None, test=None, **more):
    others = sorted(set(EVERYONE) - set(labelled))
    return files.extend_patients(old, labelled, others, seed=seed, val=val, test=test, **more)


def roles(splits):
    """Training, validation and test patients."""
    return [set(splits.train["trall"]["*"]), set(splits.val["trall"]["*"]), set(splits.test)]


def test_one_painted_patient_trains():
    new = extended(START, ["p03"])
    assert roles(new) == [{"p03"}, set(), set()] and "folds" not in new.train
    assert [*new.train["al"]["*"]] == EVERYONE == [*new.train["unlabeled"]["*"]]


def test_few_painted_patients_are_left_out_in_turn():
    new = extended(START, ["p00", "p01", "p02"])
    assert roles(new) == [{"p00", "p01", "p02"}, set(), set()]
    for comb, held in new.val["folds"].items():
        assert sorted([*held, *new.train["folds"][comb]]) == ["p00", "p01", "p02"]
    assert [*new.val["folds"]] == ["c1", "c2", "c3"] and sorted(sum(new.val["folds"].values(), [])) == EVERYONE[:3]


def test_nobody_moves_when_labels_are_added():
    first = extended(START, EVERYONE[:3])
    second = extended(first, EVERYONE[:6])
    train, val, test = roles(second)
    assert set(EVERYONE[:3]) < train and len(train) == 5 and len(val) == 1 and not test
    assert not val & {*second.train["al"]["*"]} and val < {*second.train["unlabeled"]["*"]}
    assert second.train["folds"] == first.train["folds"]
    third = extended(second, EVERYONE[:10], test=2)
    assert [before <= after for before, after in zip(roles(second), roles(third), strict=True)] == [True] * 3
    assert [len(part) for part in roles(third)] == [6, 2, 2]
    assert not roles(third)[2] & {*third.train["unlabeled"]["*"], *third.train["al"]["*"]}
    assert extended(third, EVERYONE[:10], seed=5) == third


def test_full_labels_keep_their_lists_too():
    first = files.split_patients(EVERYONE[:8], EVERYONE[8:], seed=1, val=None, test=None)
    second = extended(first, EVERYONE, seed=2, test=2, is_partial=False)
    assert [len(part) for part in roles(first)] == [4, 2, 2] and [len(part) for part in roles(second)] == [8, 2, 2]
    assert second.train["tr1"] == first.train["tr1"] and second.train["al"] == second.train["trall"]


def test_too_few_to_split():
    with pytest.raises(ConfigError, match="2 labelled patients cannot be split into 1 to test, 1 to validate"):
        extended(START, ["p00", "p01"], val=1, test=1)


def read(text):
    found = {}
    exec(text, found)
    return found


@pytest.mark.parametrize("is_edited", [False, True])
def test_the_text_says_the_lists_and_keeps_what_was_edited(is_edited):
    text = files.splits_text("mine", START, 7)
    if is_edited:
        text = text.replace('unlabeled = ("unlabeled",)', 'unlabeled = ("unlabeled",)  # mine')
    old = START
    for labelled in (EVERYONE[:3], EVERYONE[:6], EVERYONE[:9]):
        new = extended(old, labelled, test=1)
        text = files.extended_text("mine", text, old, new, 0)
        found = read(text)
        plain = (
            {key: {c: [*ids] for c, ids in combs.items()} for key, combs in t.items()} for t in (new.train, new.val)
        )
        assert [found["train"], found["val"], found["test"]] == [*plain, [*new.test]]
        assert "shuffled with seed 7" in text and ("# mine" in text) == is_edited
        old = new
    assert files.extended_text("mine", text, old, old, 0) == text
