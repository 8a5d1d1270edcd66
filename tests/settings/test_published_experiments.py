"""The experiments that are shipped.

Expected values: `published_plans.json`, what each round of each file did before the files were translated into the
native form (recorded by tests/record.py from that code, which was checked against the published files by hand).
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fewslice import learner  # noqa: F401  names of networks, members and features
from fewslice.active import annotators  # noqa: F401
from fewslice.settings.compat import coreclr
from fewslice.settings.datasets import load_dataset_config
from fewslice.settings.declare import settings_of
from fewslice.settings.experiment import Encoder, Experiment, Members, QuerySettings, Round, Stop
from fewslice.settings.load import load_experiment
from tests.record import describe_plan

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
FILES = {path.stem: path for path in sorted(FOLDER.rglob("*.yml"))}
PLANS = json.loads((Path(__file__).parent / "published_plans.json").read_text())
OURS = {"phantom_quick", *(f"acdc_h5_weak_{name}" for name in ("coreset", "entropy", "ours", "random", "typiclust"))}


def compact(plan: dict[str, Any]) -> dict[str, Any]:
    """Returns a plan whose rounds hold only what differs from the round before."""
    rounds = plan["rounds"]
    changes = [
        {name: value for name, value in one.items() if name not in before or before[name] != value}
        | {name: "absent" for name in before if name not in one}
        for before, one in zip([{}, *rounds], rounds, strict=False)
    ]
    return json.loads(json.dumps(plan | {"rounds": changes}))


@pytest.mark.parametrize("name", FILES)
def test_every_file_does_what_it_did(name, monkeypatch):
    lines = []
    monkeypatch.setattr(coreclr.logging, "info", lambda *values: lines.append(values))
    experiment = load_experiment(FILES[name])
    assert compact(describe_plan(experiment)) == PLANS[name]
    assert experiment.name == name and lines == []
    load_dataset_config(experiment.dataset)


def test_all_files_are_there_and_say_what_they_are():
    assert len(FILES) == 42 and FILES.keys() == PLANS.keys()
    assert {name for name, path in FILES.items() if path.parent == FOLDER} == OURS
    for path in FILES.values():
        remark = path.read_text().split("\n\n")[0].splitlines()
        assert 2 <= len(remark) <= 4 and all(line.startswith("# ") for line in remark), path


def test_the_quick_one_is_quick():
    found = load_experiment(FILES["phantom_quick"])
    total = sum(found.network.options["steps"] * plan.training_share for plan in found.plans(100))
    assert total <= 600 and found.encoder.epochs == 1 and found.members.count == 1


def key_table() -> list[str]:
    """Returns the lines of the table of native keys, as in experiments/README.md."""
    groups = {"": Experiment, "query.": QuerySettings, "rounds[].": Round, "stop.": Stop}
    groups |= {"members.": Members, "encoder.": Encoder}
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for prefix, of in groups.items():
        for name in [name for name in settings_of(of) if of is not Encoder or name in vars(Encoder)]:
            setting = settings_of(of)[name]
            lines.append(f"| `{prefix}{name}` | {shown(setting.default)} | {setting.help.text} |")
    return lines


def shown(default: Any) -> str:
    if default is dataclasses.MISSING:
        return "required"
    while hasattr(default, "SHORT"):
        default = getattr(default, default.SHORT)
    default = getattr(default, "name", default)
    return f"`{default}`" if isinstance(default, str) and default else f"`{json.dumps(default)}`"


def test_the_readme_lists_every_key_and_file():
    text = (FOLDER / "README.md").read_text()
    table = text[text.index("| key |") :].split("\n\n")[0].strip().splitlines()
    assert table == key_table()
    assert set(re.findall(r"^\| `(?:published/)?(\w+)\.yml`", text, re.M)) == set(FILES)


def test_the_example_of_the_readme_is_an_experiment(tmp_path):
    text = (FOLDER / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "mine.yml").write_text(text)
    found = load_experiment(tmp_path / "mine.yml")
    assert [one.query.strategy.name for one in found.plans(100)] == ["mfc", "mfc", "random"]
    assert found.query.strategy.options["pos_wt"] == 500.0
