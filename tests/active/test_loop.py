"""The loop of rounds: interrupted at every write it ends as if it had not been.

Expected values: the undisturbed run of the same loop, and budgets counted by hand.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fewslice.active import round_files
from fewslice.active.annotators import WaitingForAnnotations
from fewslice.active.loop import Loop
from fewslice.active.query import Query
from fewslice.active.safe import select_safely
from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError
from fewslice.settings.experiment import Named, QuerySettings, RoundPlan
from tests.active.units import make_pool

COUNT, IGNORE = 12, 4


class Annotations:
    """Masks whose pixels say which unit they belong to."""

    def annotate(self, folder, units):
        masks = np.full((len(units), 1, 1, 1), IGNORE, np.uint8)
        masks[:, 0, 0, 0] = units % 4
        return list(masks)


class Learner:
    """Trains nothing: its result depends on what is annotated, in order, and on the round before."""

    def __init__(self):
        self.calls = []

    def __call__(self, folder, plan, annotations):
        self.calls.append(plan.number)
        code = int(np.dot(annotations.units + 1, np.arange(1, len(annotations) + 1)))
        files.write_text(folder / "member_0" / "weights.txt", str(code))
        values = [annotations.labels(place)[0, 0, 0] for place in range(len(annotations))]
        assert values == [unit % 4 for unit in annotations.units]
        return {"test_dice": code / 1000, "seconds": 0.0}


def scores(situation):
    """Returns scores that the networks of the last trained round decide."""
    seed = int((situation.trained / "member_0" / "weights.txt").read_text()) if situation.trained else 1
    return np.random.default_rng(seed).random(COUNT)


def make_loop(folder: Path, **changes) -> Loop:
    pool = make_pool(
        [f"p{i // 6}_v{i // 3}_s{i}" for i in range(COUNT)],
        np.arange(COUNT) // 6,
        np.arange(COUNT) // 3,
        np.arange(COUNT) % 3,
    )
    parts = {"evidence": {"scores": scores}, "annotator": Annotations(), "learner": Learner()}
    return Loop(folder=folder, pool=pool, ignore_value=IGNORE, **(parts | changes))


def plans(*units: int, strategy: str = "uncertainty", **changes) -> list[RoundPlan]:
    return [plan(n, u, strategy if n else "random", **changes) for n, u in enumerate(units)]


def plan(number: int, units: int, strategy: str, options: dict | None = None, **changes) -> RoundPlan:
    query = QuerySettings(strategy=Named(name=strategy, options=options or {}))
    return RoundPlan(number, units / COUNT, units, query, seed=3, **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def queried(folder: Path, number: int) -> list[str]:
    lines = (folder / "rounds" / f"{number:03d}" / "query.csv").read_text().splitlines()[1:]
    return [line.split(",")[2] for line in lines]


class Killed(BaseException):
    pass


def count_writes(monkeypatch, limit: int | None) -> list[int]:
    """Makes the write number `limit` fail right before or right after the file is in place, as a kill would."""
    real, done = files.os.replace, [0]
    monkeypatch.setattr(files.os, "fsync", lambda file: None)  # a kill, no power failure

    def replace(source, target):
        done[0] += 1
        if limit is not None and done[0] == limit // 2 and limit % 2 == 0:
            raise Killed
        real(source, target)
        if limit is not None and done[0] == limit // 2 and limit % 2 == 1:
            raise Killed

    monkeypatch.setattr(files.os, "replace", replace)
    return done


def test_killed_at_every_write(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    done = count_writes(monkeypatch, None)
    make_loop(whole).run(plans(2, 5))
    expected, writes = contents(whole), done[0]
    assert writes == 21 and len({*queried(whole, 0), *queried(whole, 1)}) == 5  # 10 writes a round, and scores.csv
    for limit in range(2, 2 * writes + 2):
        folder = tmp_path / str(limit)
        count_writes(monkeypatch, limit)
        with pytest.raises(Killed):
            make_loop(folder).run(plans(2, 5))
        count_writes(monkeypatch, None)
        make_loop(folder).run(plans(2, 5))
        found = {name: value for name, value in contents(folder).items() if ".tmp" not in name}
        assert found == expected, limit


def test_finished_rounds_do_nothing_and_rounds_can_be_added(tmp_path):
    make_loop(tmp_path).run(plans(2, 4))
    before, loop = contents(tmp_path), make_loop(tmp_path)
    loop.run(plans(2, 4))
    assert contents(tmp_path) == before and loop.learner.calls == []
    loop.run(plans(2, 4, 9))
    assert loop.learner.calls == [2] and len(queried(tmp_path, 2)) == 5
    straight = tmp_path / "straight"
    make_loop(straight).run(plans(2, 4, 9))
    assert queried(straight, 2) == queried(tmp_path, 2)


def test_a_changed_plan_is_refused(tmp_path):
    make_loop(tmp_path).run(plans(2, 4))
    with pytest.raises(ConfigError, match="units: 4 then, 5 now"):
        make_loop(tmp_path).run(plans(2, 5))


@pytest.mark.parametrize("name", ["query.csv", "labels.npy", "metrics.json", "labelled.csv"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_in_a_finished_round_is_told(tmp_path, name, damage):
    make_loop(tmp_path).run(plans(2, 4))
    path = tmp_path / "rounds" / "000" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=name) as error:
        make_loop(tmp_path).run(plans(2, 4, 6))
    assert "elsewhere and repeat" in error.value.remedy


@pytest.mark.parametrize("name", ["query.csv", "labels.npy", "metrics.json"])
def test_damage_in_an_unfinished_round_is_told(tmp_path, monkeypatch, name):
    """A valid file, but another one; the person who moves it away, as the message says, gets the same results."""

    def kill(_folder):
        raise Killed

    make_loop(tmp_path / "whole").run(plans(2, 4))
    monkeypatch.setattr(round_files, "finish", kill)
    with pytest.raises(Killed):
        make_loop(tmp_path / "cut").run(plans(2, 4))
    monkeypatch.undo()
    folder = tmp_path / "cut" / "rounds" / "000"
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=f"{name}(.|\n)*Restore it; or move (.*) elsewhere") as error:
        make_loop(tmp_path / "cut").run(plans(2, 4))
    away = Path(re.search("move (.*) elsewhere", error.value.remedy)[1])
    away.rename(tmp_path / "away")
    make_loop(tmp_path / "cut").run(plans(2, 4))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["member.json", "logs/train.csv", "eval/test/per_volume.csv", "checkpoints/best.npz"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_damage_of_a_trained_network_in_an_unfinished_round_is_told(tmp_path, name, damage):
    def train(path):
        for part in ("checkpoints/best.npz", "logs/train.csv", "eval/test/per_volume.csv", path.name):
            (path.parent / part).parent.mkdir(parents=True, exist_ok=True)
            (path.parent / part).write_text(f"{path.parent.name} {len(trained)}")
        trained.append(path.parent.name)

    trained, damaged = [], tmp_path / "member_1" / name
    for member in (0, 1, 1, 0):
        round_files.write_once(tmp_path, f"member_{member}/member.json", train)
    assert trained == ["member_0", "member_1"]
    if damage == "changed":
        damaged.write_text("0.99")
    elif name != "member.json":  # without it a network is not trained to its end
        damaged.unlink()
    else:
        return
    with pytest.raises(DataError, match=f"{name}(.|\n)*move {tmp_path / 'member_1'} elsewhere"):
        round_files.write_once(tmp_path, "member_1/member.json", train)
    round_files.write_once(tmp_path, "member_0/member.json", train)
    (tmp_path / "member_1").rename(tmp_path / "away")
    for _ in range(2):
        round_files.write_once(tmp_path, "member_1/member.json", train)
    assert trained == ["member_0", "member_1", "member_1"]


def test_a_choice_of_another_history_is_refused(tmp_path):
    make_loop(tmp_path).run(plans(2, 4))
    first, second = (tmp_path / "rounds" / name for name in ("000", "001"))
    (second / "DONE").unlink()
    (second / "query.csv").write_bytes((first / "query.csv").read_bytes())
    with pytest.raises(DataError, match="2 were annotated"):
        make_loop(tmp_path).run(plans(2, 4))


def test_budgets(tmp_path):
    """Nothing to annotate, more than there is, and less than is there already."""
    loop = make_loop(tmp_path)
    loop.run(plans(0, 3, 2, 40))
    counts = [len(queried(tmp_path, number)) for number in range(4)]
    assert counts == [0, 3, 0, 9] and loop.learner.calls == [0, 1, 2, 3]
    metrics = json.loads((tmp_path / "rounds" / "003" / "metrics.json").read_text())
    assert metrics["units"] == 12 and metrics["annotated_pixels"] == 12


def test_a_hedged_round(tmp_path):
    one = plan(0, 4, "uncertainty")
    one = dataclasses.replace(one, query=dataclasses.replace(one.query, safe=True))
    make_loop(tmp_path).run([one])
    pool = make_loop(tmp_path).pool
    query = Query(pool=pool, is_labelled=np.zeros(COUNT, bool), budget=4, rng=np.random.default_rng([3, 0]),
                  ignore_value=IGNORE, scores=np.random.default_rng(1).random(COUNT))  # fmt: skip
    assert queried(tmp_path, 0) == [pool.name(unit) for unit in select_safely("uncertainty", query).indices]
    assert json.loads((tmp_path / "rounds" / "000" / "plan.json").read_text())["query"]["safe"] is True


def test_a_round_that_only_annotates(tmp_path):
    loop = make_loop(tmp_path)
    rounds = plans(2, 4, 6)
    rounds[1] = plan(1, 4, "uncertainty", train=False)
    loop.run(rounds)
    assert loop.learner.calls == [0, 2] and not (tmp_path / "rounds" / "001" / "metrics.json").exists()
    ranks = scores(type("S", (), {"trained": tmp_path / "rounds" / "000"}))  # of round 0, in rounds 1 and 2
    names = make_loop(tmp_path).pool.unit_ids
    left = [names[i] for i in np.argsort(-ranks) if names[i] not in queried(tmp_path, 0)]
    assert queried(tmp_path, 1) == left[:2] and queried(tmp_path, 2) == left[2:4]


def test_waiting_for_annotations_keeps_the_choice(tmp_path):
    class Waiting:
        def annotate(self, folder, units):
            raise WaitingForAnnotations("later")

    with pytest.raises(WaitingForAnnotations):
        make_loop(tmp_path, annotator=Waiting()).run(plans(3, 5))
    choice = queried(tmp_path, 0)
    make_loop(tmp_path).run(plans(3, 5))
    assert queried(tmp_path, 0) == choice and len(choice) == 3


def test_the_picture_shows_the_choice(tmp_path):
    seen = []

    def draw(path, choice, masks):
        seen.append((path.name, len(choice.indices), len(masks), masks[0].shape))

    make_loop(tmp_path, picture=draw).run(plans(2, 3))
    assert seen == [("gallery.png", 2, 2, (1, 1, 1)), ("gallery.png", 1, 1, (1, 1, 1))]


@pytest.mark.parametrize("text", ["{}", "[]", "null", "1e400", '{"sha256": []}', '{"sha256": {"query.csv": 3}}'])
def test_a_mark_of_another_shape_is_one_message(tmp_path, text):
    make_loop(tmp_path).run(plans(2, 4))
    (tmp_path / "rounds" / "000" / "DONE").write_text(text)
    with pytest.raises(DataError, match=r"000/DONE\n.*expected: .*in JSON\n.*found: .*\n.*remedy: .*Restore it"):
        make_loop(tmp_path).run(plans(2, 4))
