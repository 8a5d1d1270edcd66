"""Experiments of active learning on the tiny dataset: four patients with 16 slices are the pool."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path

import pytest
import yaml

from tests.train_model import tiny

SCRIPT = "run_al_exp"
COUNT = 16  # slices of the pool
SPLITS = """
train = {"al": {"c1": ["001", "002", "003", "004"]}}
val = {"al": {"*": ["005"]}}
test = ["006", "007"]
unlabeled = ("al",)
"""
INIT = tiny.INIT.replace('"tr4"', '"al"') + 'scribbles = "simulated"\n'
MODEL = {
    "model_type": "dmpls",
    "dataset": "tiny",
    "ann_type": "scribble",
    "batch_size": 2,
    "max_iterations": 16,
    "val_every": 2,
}
MASKS = {"model_type": "strong", "ann_type": "label"}
THREE = [[0.25, 0], [0.25, 0], [0.25, 0]]
WIDTHS, DROPOUT = (2, 4), (0.1, 0.2)


def write_settings(folder: Path) -> Path:
    """Writes settings of the tiny dataset with a list for active learning. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "init_tiny.py").write_text(INIT)
    (folder / "data_cfg_tiny.py").write_text(SPLITS)
    return folder


def write_experiment(path: Path, *, model: dict | None = None, policy: dict | None = None, **groups) -> Path:
    """Writes an experiment; `model` and `policy` change the tiny one, `groups` are the others. Returns its path."""
    found = {
        "model": MODEL | (model or {}),
        "policy": {"policy_type": "random", "rounds": THREE, "ensemble_kwargs": {"inf_test": True}} | (policy or {}),
        "exp_dir": path.stem,
        **groups,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(found))
    return path


def use_small_networks(patch: pytest.MonkeyPatch) -> None:
    """Makes networks of a few channels."""
    import models

    patch.setattr(models, "build_group_encoder", functools.partial(models.build_group_encoder, width=2))
    small = functools.partial(models.build_scribble_unet, widths=WIDTHS, dropout=DROPOUT)
    patch.setattr(models, "build_scribble_unet", small)


def times(folder: Path) -> dict[Path, int]:
    """Returns when each file of a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def rounds(folder: Path) -> list[Path]:
    """Returns the folders of the rounds of a run."""
    return sorted((folder / "rounds").iterdir())


def table(path: Path) -> list[dict[str, str]]:
    """Returns the lines of a CSV file."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def picks(folder: Path) -> list[list[str]]:
    """Returns the units that each round queried, in order."""
    return [[row["unit_id"] for row in table(one / "query.csv")] for one in rounds(folder)]


def metrics(folder: Path) -> list[dict]:
    """Returns metrics.json of each round without the times."""
    return [tiny.content(one / "metrics.json") for one in rounds(folder)]


def assert_same_experiment(one: Path, other: Path) -> None:
    """Compares two runs bit by bit: what was queried, annotated, trained and measured."""
    names = ("query.csv", "scores.csv", "labelled.csv", "labels.npy", "pool.csv", "per_volume.csv")
    tiny.assert_same(one, other, *names, "train.csv", "metrics.json", "member.json", "best.npz", "last.npz")
    for path in sorted(one.rglob("plan.json")):  # who annotates may differ
        plans = [json.loads((folder / path.relative_to(one)).read_text()) for folder in (one, other)]
        assert plans[0] | {"annotator": ""} == plans[1] | {"annotator": ""}, path
