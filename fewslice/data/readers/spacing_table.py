"""The csv table with what .h5 files lack: one row per volume with its voxel size and perhaps its phase."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.readers.access import readable

_SPACING = ("spacing_x_mm", "spacing_y_mm", "spacing_z_mm")


def read_spacing_table(path: Path, how_to_get: str, *, with_phase: bool) -> dict[str, Mapping[str, str]]:
    """Returns volume name in lower case -> its row.

    Args:
        path: The table.
        how_to_get: What is shown where there is none.
        with_phase: Whether there must be a column "phase" with ED or ES.

    Raises:
        DataError: no such file, a column is missing, a row is incomplete or occurs twice.
    """
    columns = ("volume", *(("phase",) if with_phase else ()), *_SPACING)
    if not path.is_file():
        expected = f"a csv table with the columns {', '.join(columns)} (`spacing_table`)"
        raise DataError(path, expected=expected, found="no such file", remedy=how_to_get)
    with readable(path), open(path, newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    problems = [f"no column {name}" for name in columns if rows and name not in rows[0]]
    problems += ["no rows"] if not rows else []
    if not problems:
        problems = [
            f"line {line}: {text}" for line, row in enumerate(rows, 2) for text in _row_problems(row, with_phase)
        ]
        names = [row["volume"] for row in rows if row["volume"]]
        problems += [f"{name} occurs twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if problems:
        found = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        expected = f"one complete row per volume with {', '.join(columns)}"
        raise DataError(path, expected=expected, found=found, remedy="Correct the table.")
    return {row["volume"].lower(): row for row in rows}


def spacing_of(row: Mapping[str, str]) -> tuple[float, float, float]:
    """Returns the voxel size along x, y, z in mm."""
    return tuple(float(row[column]) for column in _SPACING)


def _row_problems(row: Mapping[str, str], with_phase: bool) -> list[str]:
    problems = [] if row["volume"] else ["no volume"]
    if with_phase and row["phase"] not in ("ED", "ES"):
        problems.append(f"phase {row['phase']!r} instead of ED or ES")
    for column in _SPACING:
        try:
            is_good = math.isfinite(float(row[column])) and 1e-3 <= float(row[column]) <= 1e3
        except (TypeError, ValueError):
            is_good = False
        problems += [] if is_good else [f"{column} = {row[column]!r}"]
    return problems
