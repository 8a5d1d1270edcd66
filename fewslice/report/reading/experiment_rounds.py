"""Reads one round of an active-learning experiment: what was bought, and how well the networks became."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewslice.core.errors import DataError, FewSliceError
from fewslice.core.files import read_json
from fewslice.report.reading.runs import Score, to_number

_EXPECTED = "a file as run_al_exp.py writes it"
_REMEDY = "The file is damaged. Restore it, or delete the folder of this round and repeat the experiment's command."
_METRICS = ("val_dice", "test_dice", "test_hd95_mm", "test_hd95_voxels")
_PNG = b"\x89PNG\r\n\x1a\n"


def damaged(path: Path, *, found: str, expected: str = _EXPECTED, remedy: str = _REMEDY) -> DataError:
    """Returns the error for a file that cannot be read."""
    return DataError(path, expected=expected, found=found, remedy=remedy)


@dataclass(frozen=True)
class Pick:
    """A unit of the pool.

    Attributes:
        unit_id: Its name.
        patient: Its patient.
        volume: Its volume.
        position: Its index in the volume.
        share: The same from 0 (first slice) to 1 (last), NaN if unknown.
        value: What the strategy found in it when it was bought, NaN if nothing.
    """

    unit_id: str
    patient: str
    volume: str
    position: float
    share: float = math.nan
    value: float = math.nan


@dataclass(frozen=True, eq=False)
class Round:
    """One round.

    Attributes:
        folder: rounds/<number>.
        number: From 0.
        fraction: Annotated share of the pool after the purchase, rounded to 6 decimals; NaN if unknown.
        units: Number of annotated units after the purchase, NaN if unknown.
        strategy: What bought it, or "".
        is_skipped: Whether nothing was meant to be trained.
        annotated_pixels: Number of annotated pixels, NaN if unknown.
        seconds: Stage -> seconds; {"": seconds} if only the whole round was measured; or empty.
        metrics: val_dice, test_dice, test_hd95_mm, test_hd95_voxels of the chosen member, NaN where undefined; empty
            if nothing was trained.
        per_structure: structure -> metric -> value of the chosen member.
        chosen: Which member has the best validation Dice; None if unknown.
        num_members: Number of ensemble members.
        scores: The chosen member's rows of per_volume.csv, of the test volumes or else of the validation volumes.
        score_set: "test" or "val".
        picks: What was bought, in the order of choice.
        gallery: gallery.png, or None.
    """

    folder: Path
    number: int
    fraction: float
    units: float
    strategy: str
    is_skipped: bool
    annotated_pixels: float
    seconds: dict[str, float]
    metrics: dict[str, float]
    per_structure: dict[str, dict[str, float]]
    chosen: int | None
    num_members: int
    scores: tuple[Score, ...]
    score_set: str
    picks: tuple[Pick, ...]
    gallery: Path | None

    @property
    def total_seconds(self) -> float:
        """Time of the whole round, NaN if it was not measured."""
        return sum(self.seconds.values()) if self.seconds else math.nan


def read_round(folder: Path) -> tuple[Round | None, list[FewSliceError]]:
    """Reads one round.

    Returns:
        The round, None if it has neither plan nor scores; and an error for each file that is damaged.
    """
    errors: list[FewSliceError] = []
    plan = _attempt(_read_plan, folder / "plan.json", {}, errors)
    measured = _attempt(_read_metrics, folder / "metrics.json", {}, errors)
    if not plan and not measured:
        return None, errors
    picks = _attempt(_read_picks, folder / "query.csv", (), errors)
    gallery = _attempt(_checked_picture, folder / "gallery.png", None, errors)
    scores, score_set = (), "test"
    chosen = measured.get("chosen")
    for score_set in ("test", "val") if chosen is not None else ():
        path = folder / f"member_{chosen}" / "eval" / score_set / "per_volume.csv"
        scores = _attempt(_scores, path, (), errors)
        if scores:
            break
    common = {**measured.get("plan", {}), **plan}
    one = Round(
        folder=folder, number=int(folder.name), fraction=common.get("fraction", math.nan),
        units=common.get("units", math.nan), strategy=common.get("strategy", ""),
        is_skipped=common.get("is_skipped", False), annotated_pixels=measured.get("annotated_pixels", math.nan),
        seconds=measured.get("seconds", {}), metrics=measured.get("metrics", {}),
        per_structure=measured.get("per_structure", {}), chosen=chosen, num_members=measured.get("num_members", 0),
        scores=scores, score_set=score_set, picks=picks, gallery=gallery,
    )  # fmt: skip
    return one, errors


def _attempt(read, path: Path, default: Any, errors: list[FewSliceError]) -> Any:
    if not path.is_file():
        return default
    try:
        return read(path)
    except FewSliceError as error:
        errors.append(error)
        return default


def json_table(path: Path, remedy: str = _REMEDY) -> dict[str, Any]:
    """Returns a JSON file that holds a table. Raises `DataError` if it does not."""
    try:
        found = read_json(path)
    except (FewSliceError, OSError) as error:
        raise damaged(path, found=f"no valid JSON: {error.__cause__ or error}", remedy=remedy) from error
    if not isinstance(found, dict):
        raise damaged(path, found=f"a {type(found).__name__}", remedy=remedy)
    return found


def _number(path: Path, found: dict[str, Any], name: str) -> float:
    """Returns a number of a JSON table, NaN for null or nothing."""
    value = found.get(name)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise damaged(path, found=f"{name}: {str(value)[:60]!r} is no number")
    return float(value)


def _read_plan(path: Path) -> dict[str, Any]:
    found = json_table(path)
    return {
        **_budget(path, found),
        "strategy": str(found.get("strategy") or ""),
        "is_skipped": bool(found.get("skip_training")),
    }


def _budget(path: Path, found: dict[str, Any]) -> dict[str, float]:
    fraction = _number(path, found, "fraction")
    return {"fraction": round(fraction, 6), "units": _number(path, found, "units")}


def _read_metrics(path: Path) -> dict[str, Any]:
    found = json_table(path)
    members = found.get("members") or []
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise damaged(path, found="members that are no list of tables")
    chosen = found.get("chosen")
    if chosen is None:
        chosen = _best(path, members)
    if chosen is not None and (isinstance(chosen, bool) or not isinstance(chosen, int) or chosen < 0):
        raise damaged(path, found=f"chosen: {str(chosen)[:60]!r} is no member")
    member = members[chosen] if chosen is not None and chosen < len(members) else {}
    metrics = {name: _number(path, found if name in found else member, name) for name in _METRICS}
    structures = found.get("per_structure") or {}
    if not isinstance(structures, dict) or not all(isinstance(row, dict) for row in structures.values()):
        raise damaged(path, found="per_structure that is no table of tables")
    return {
        "plan": _budget(path, found),
        "annotated_pixels": _number(path, found, "annotated_pixels"),
        "seconds": _seconds(path, found),
        "metrics": metrics,
        "per_structure": {name: {key: _number(path, row, key) for key in row} for name, row in structures.items()},
        "chosen": chosen,
        "num_members": len(members),
    }


def _best(path: Path, members: Sequence[dict[str, Any]]) -> int | None:
    """Returns the first member with the best validation Dice, None if none was validated."""
    values = [_number(path, member, "val_dice") for member in members]
    finite = [value for value in values if math.isfinite(value)]
    return values.index(max(finite)) if finite else None


def _seconds(path: Path, found: dict[str, Any]) -> dict[str, float]:
    seconds = found.get("seconds")
    table_of_stages = seconds if isinstance(seconds, dict) else {"": seconds}
    values = {str(name): _number(path, table_of_stages, name) for name in table_of_stages}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Returns the rows of a csv file. Raises `DataError` if it cannot be read or lacks one of `columns`."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise damaged(path, found=f"no table: {error}") from error
    missing = [name for name in columns if name not in names]
    if missing:
        raise damaged(path, expected=f"columns {', '.join(columns)}", found=f"no {', '.join(missing)}")
    for line, row in enumerate(rows, start=2):
        if any(row[name] is None for name in columns):
            raise damaged(path, expected=f"columns {', '.join(columns)}", found=f"too few cells in line {line}")
    return rows


def cell_number(path: Path, line: int, text: str) -> float:
    """Returns a cell as a number, NaN where it is empty. Raises `DataError` if it holds something else."""
    return to_number(path, line, text)


def _read_picks(path: Path) -> tuple[Pick, ...]:
    rows = table(path, ("unit_id", "patient", "volume", "position"))
    return tuple(
        Pick(row["unit_id"], row["patient"], row["volume"], cell_number(path, line, row["position"]),
             value=cell_number(path, line, row.get("value") or ""))
        for line, row in enumerate(rows, start=2)
    )  # fmt: skip


def _scores(path: Path) -> tuple[Score, ...]:
    rows = table(path, ("case_id", "structure", "metric", "value"))
    return tuple(
        Score(*(row.get(name) or "" for name in ("case_id", "patient_id", "phase", "structure", "metric")),
              cell_number(path, line, row["value"]), row.get("note") or "")
        for line, row in enumerate(rows, start=2)
    )  # fmt: skip


def _checked_picture(path: Path) -> Path:
    with open(path, "rb") as file:
        start = file.read(len(_PNG))
        file.seek(max(0, path.stat().st_size - 12))
        end = file.read()
    if start != _PNG or b"IEND" not in end:
        raise damaged(path, expected="a PNG picture", found="something else, or only a part of one")
    return path
