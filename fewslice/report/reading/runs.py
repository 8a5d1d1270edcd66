"""Reads run directories.

A run that misses a part (no validation, no evaluation) is read all the same; `Run.problems` says what is
missing. A file that is there but damaged raises.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.core.errors import ConfigError, DataError
from fewslice.core.files import read_json

_NOT_STRUCTURES = {"mean", "average", "all"}
_NO_TRAININGS = {
    "run_al_exp",
    "select_slices",
}  # experiments and selections of slices


@dataclass(frozen=True)
class Score:
    """One number of eval/per_volume.csv; NaN where the metric is undefined, with the reason in `note`."""

    case_id: str
    patient_id: str
    phase: str
    structure: str
    metric: str
    value: float
    note: str


@dataclass(frozen=True, eq=False)
class Run:
    """What one run directory says.

    Attributes:
        path: The directory.
        config: config.json.
        versions: versions.json, or empty.
        command: command.txt, or empty.
        is_finished: Whether DONE is there.
        curve: Columns of logs/train.csv as float64 arrays of one length, NaN for empty cells; empty without
            the file.
        scores: Rows of eval/per_volume.csv, without rows of means.
        problems: What is missing, in words.
    """

    path: Path
    config: dict[str, Any]
    versions: dict[str, Any]
    command: str
    is_finished: bool
    curve: dict[str, np.ndarray]
    scores: tuple[Score, ...]
    problems: tuple[str, ...]

    @property
    def stage(self) -> str:
        """Name of the training script."""
        return str(self.config.get("stage") or self.path.parent.name)

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.config.get("dataset") or self.path.parent.parent.name)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config.get("seed") or 0)

    @property
    def digest(self) -> str:
        """Digest of its configuration."""
        return str(self.config.get("digest") or self.path.name.rpartition("-")[2])

    @property
    def is_contrastive(self) -> bool:
        """Whether the run pretrains: it logs the loss of random embeddings, or its script's name says so."""
        return bool(np.isfinite(self.column("random_level")).any()) or self.stage.startswith("pretr_")

    def column(self, name: str) -> np.ndarray:
        """Returns a column of the curve, all NaN if there is none."""
        length = len(next(iter(self.curve.values()), ()))
        return self.curve.get(name, np.full(length, np.nan))

    @property
    def seconds(self) -> float:
        """Time spent training: the sum of the log's segments; NaN if it was not logged."""
        values = self.column("seconds")
        values = values[np.isfinite(values)]
        return float(values.sum()) if len(values) else float("nan")


def find_run_dirs(runs_dir: str | Path, dataset: str | None = None) -> list[Path]:
    """Returns the finished run directories (with DONE) below `runs_dir`, of one dataset or of all: trainings only."""
    root = Path(runs_dir) / dataset if dataset else Path(runs_dir)
    found = (done.parent for done in root.rglob("DONE") if not _NO_TRAININGS & set(done.relative_to(root).parts))
    return sorted(path for path in found if (path / "config.json").is_file())


def choose_run_dirs(named: Sequence[str], runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the named run directories, or all finished ones of a dataset if none is named.

    Raises:
        ConfigError: none is named and none is finished.
    """
    chosen = [Path(path) for path in named if path.strip()] or find_run_dirs(runs_dir, dataset)
    if not chosen:
        raise ConfigError(
            f"There is no finished run of {dataset} below {runs_dir}. Train one first, or name run "
            "directories with --runs (unfinished ones too)."
        )
    return list(dict.fromkeys(chosen))


def read_run(path: str | Path) -> Run:
    """Reads one run directory.

    Args:
        path: The folder with config.json.

    Raises:
        DataError: it is no run directory, or a table in it is damaged.
        FewSliceError: a JSON file in it is damaged.
    """
    path = Path(path)
    config_path = path / "config.json"
    if not config_path.is_file():
        raise DataError(
            path,
            expected="a run directory (with config.json)",
            found="no config.json" if path.is_dir() else "no such folder",
            remedy="Name a folder like runs/<dataset>/<stage>/<method>-<digest>.",
        )
    config = _flat(read_json(config_path))
    versions = read_json(path / "versions.json") if (path / "versions.json").is_file() else {}
    command_path = path / "command.txt"
    command = command_path.read_text(encoding="utf-8", errors="replace").strip() if command_path.is_file() else ""
    curve, scores = _read_curve(path / "logs" / "train.csv"), _read_scores(path / "eval" / "per_volume.csv")
    is_finished, problems = (path / "DONE").is_file(), []
    is_contrastive = str(config.get("stage") or path.parent.name).startswith("pretr_")
    if not is_finished:
        problems.append("The run is not finished (no DONE); its numbers may still change.")
    if not curve:
        problems.append("There is no training log (logs/train.csv).")
    elif not is_contrastive and not np.isfinite(curve.get("val_dice", np.array([np.nan]))).any():
        problems.append("No validation was logged (no val_dice in logs/train.csv).")
    if not scores and not is_contrastive:
        remedy = (
            f" If it was damaged, restore it or repeat the run's command with --noresume: {path}" if is_finished else ""
        )
        problems.append(f"It was not evaluated on test volumes (no rows in eval/per_volume.csv).{remedy}")
    return Run(path, config, versions, command, is_finished, curve, scores, tuple(problems))


def _flat(config: Any) -> dict[str, Any]:
    """Lifts the entries of nested tables ("flags": {...}) to the top; names at the top win."""
    if not isinstance(config, dict):
        return {}
    nested = {key: value for table in config.values() if isinstance(table, dict) for key, value in table.items()}
    return {**nested, **{key: value for key, value in config.items() if not isinstance(value, dict)}}


def read_table(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a csv file with its columns' names; none without the file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def to_number(path: Path, line: int, text: str | None) -> float:
    """Returns a cell of a table as a number, NaN where it is empty. Raises `DataError` if it holds something else."""
    if text is None or not text.strip():
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            path,
            expected=f"a number or an empty cell in line {line}",
            found=repr(text[:60]),
            remedy="The file is damaged. Repeat the command that wrote it.",
        ) from error


def _read_curve(path: Path) -> dict[str, np.ndarray]:
    rows = read_table(path)
    if not rows:
        return {}
    names = [name for name in rows[0] if name]
    curve = {
        name: np.array([to_number(path, line, row.get(name)) for line, row in enumerate(rows, start=2)])
        for name in names
    }
    if "step" not in curve or not np.isfinite(curve["step"]).all():
        raise DataError(
            path,
            expected="a column `step` without gaps",
            found=", ".join(names),
            remedy="The file is damaged. Repeat the command that wrote it.",
        )
    return curve


def _read_scores(path: Path) -> tuple[Score, ...]:
    scores = []
    for line, row in enumerate(read_table(path), start=2):
        missing = [name for name in ("case_id", "structure", "metric", "value") if row.get(name) is None]
        if missing:
            raise DataError(
                path,
                expected="columns case_id, structure, metric, value",
                found=f"no {', '.join(missing)} in line {line}",
                remedy="The file is damaged. Repeat the evaluation.",
            )
        if row["structure"].lower() in _NOT_STRUCTURES:
            continue
        text = [row.get(name) or "" for name in ("case_id", "patient_id", "phase", "structure", "metric")]
        scores.append(Score(*text, to_number(path, line, row["value"]), row.get("note") or ""))
    return tuple(scores)
