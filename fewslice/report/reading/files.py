"""Reads the files of a run directory strictly: what is there but damaged is a `DataError` with the place."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fewslice.core.errors import DataError

REMEDY = "The file is damaged. Restore it, or repeat the command that wrote it."
_PNG = b"\x89PNG\r\n\x1a\n"


def read_table(
    path: Path, columns: Sequence[str], *, numbers: Sequence[str] | None = None, remedy: str = REMEDY
) -> pd.DataFrame:
    """Returns the rows of a csv file; empty, with `columns`, where there is none.

    Args:
        numbers: Columns that hold numbers, NaN where a cell is empty; None: all. The others hold texts.

    Raises:
        DataError: it cannot be read, lacks a column, a cell or a number of the column "step", or holds something else
            than a number.
    """
    if not path.is_file():
        return pd.DataFrame(columns=list(dict.fromkeys((*columns, *(numbers or ())))))
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), [name for name in reader.fieldnames or [] if name]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(path, expected="a table", found=f"no table: {error}", remedy=remedy) from error
    missing = [name for name in columns if name not in names]
    short = [line for line, row in enumerate(rows, start=2) if any(row.get(name) is None for name in columns)]
    if missing or short:
        found = f"no {', '.join(missing)}" if missing else f"too few cells in line {short[0]}"
        raise DataError(path, expected=f"columns {', '.join(columns)}", found=found, remedy=remedy)
    shown = [*names, *(name for name in numbers or () if name not in names)]
    table = pd.DataFrame({name: [row.get(name) or "" for row in rows] for name in shown})
    for name in names if numbers is None else numbers:
        table[name] = [_number(path, line, text, remedy) for line, text in enumerate(table[name], start=2)]
        table[name] = table[name].astype(float)
    if "step" in columns and table["step"].isna().any():
        raise DataError(path, expected="a step in every line", found="empty cells", remedy=remedy)
    return table


def _number(path: Path, line: int, text: str, remedy: str) -> float:
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError as error:
        expected = f"a number or an empty cell in line {line}"
        raise DataError(path, expected=expected, found=repr(text[:60]), remedy=remedy) from error


def checked_picture(path: Path, remedy: str = REMEDY) -> Path:
    """Returns the path of a PNG picture. Raises `DataError` if it is none, or only a part of one."""
    with open(path, "rb") as file:
        start = file.read(len(_PNG))
        file.seek(max(0, path.stat().st_size - 12))
        end = file.read()
    if start != _PNG or b"IEND" not in end:
        raise DataError(path, expected="a PNG picture", found="something else, or only a part of one", remedy=remedy)
    return path
