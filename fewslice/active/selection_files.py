"""A choice on disk, and the budgets and lists of annotated units that a user writes.

query.csv       order,index,unit_id,patient,volume,position,value: one line per chosen unit, orders count from 1
selection.json  pool, labelled and chosen units in numbers and shares, the chosen ids, settings and versions
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.active.query import Choice
from fewslice.active.units import Units
from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError

COLUMNS = ("order", "index", "unit_id", "patient", "volume", "position", "value")
_REMEDY = "Correct the file or its path. The units of a pool depend on the patients and phases it is made of."
_SHOWN = 3  # wrong lines that a message names


def budget_units(text: str, count: int) -> int:
    """Returns the number of units of a budget such as "12" or, of a pool of `count` units, "5%".

    A share is rounded down, but at least 1 where it is more than 0%.

    Raises:
        ConfigError: neither, or more than 100%.

    >>> budget_units("5%", 1902), budget_units("0.01%", 1902), budget_units("12", 1902), budget_units("0", 1902)
    (95, 1, 12, 0)
    """
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d*)?|\.\d+)\s*%", text.strip(), re.ASCII)
    if match is None:
        raise ConfigError(
            f"A budget is a number of units, such as 12, or a share of the pool, such as 5%. Received: {text!r}"
        )
    if match[1]:
        return int(match[1])
    share = Fraction(match[2].rstrip(".")) / 100
    if share > 1:
        raise ConfigError(f"A budget cannot be more than 100% of the pool. Received: {text!r}")
    return max(int(share * count), int(share > 0))


def write_query(path: Path, pool: Units, choice: Choice) -> None:
    """Writes the chosen units in their order; NaN becomes an empty cell."""
    columns = zip(choice.indices.tolist(), choice.values.tolist(), strict=True)
    rows = [{"order": order, **_facts(pool, index), "value": value} for order, (index, value) in enumerate(columns, 1)]
    files.write_csv(path, rows, COLUMNS)


def _facts(pool: Units, index: int) -> dict[str, Any]:
    """Returns the cells of query.csv that follow from the pool."""
    box = pool.box(index)
    case = pool.cases[box.case]
    return {
        "index": int(index),
        "unit_id": pool.name(index),
        "patient": case.patient,
        "volume": case.case_id,
        "position": "_".join(map(str, pool.place_in_file(box)[: 3 if pool.can_overlap else 1])),
    }


def read_query(path: Path, pool: Units) -> Choice:
    """Returns the choice of a query.csv.

    Raises:
        DataError: the file is missing, has other columns, or does not fit this pool; with the first lines that do not.
    """
    rows = _read(path, COLUMNS)
    indices = _known_units(path, rows, pool)
    problems, values = [], []
    for place, (row, index) in enumerate(zip(rows, indices, strict=True), 1):
        facts = {"order": place, **_facts(pool, index)}
        wrong = [f"{name}={row[name]!r} for {value}" for name, value in facts.items() if row[name] != str(value)]
        problems += [f"line {place + 1}: {text}" for text in wrong]
        try:
            values.append(float(row["value"]) if row["value"] else np.nan)
        except ValueError:
            problems.append(f"line {place + 1}: value={row['value']!r} is not a number")
    _refuse(path, problems, "orders from 1, and the index, patient, volume and position that the unit has in this pool")
    return Choice(np.array(indices, np.int64), np.array(values, np.float64))


def read_scores(path: Path) -> dict[str, float]:
    """Returns unit_id -> score of a scores.csv. Raises `DataError` as `read_query`."""
    try:
        return {row["unit_id"]: float(row["score"]) for row in _read(path, ("unit_id", "score"))}
    except ValueError as error:
        raise DataError(path, expected="a number as score", found=str(error), remedy=_REMEDY) from error


def read_labelled(path: Path, pool: Units) -> np.ndarray:
    """Returns the (n,) int64 pool indices, ascending, of a CSV file with a column `unit_id`, such as a query.csv.

    Raises:
        DataError: the file is missing or has no such column; a unit that the pool does not have, or twice.
    """
    return np.sort(np.array(_known_units(path, _read(path, ("unit_id",)), pool), np.int64))


def write_selection(
    path: Path, pool: Units, is_labelled: np.ndarray, choice: Choice, *, facts: Mapping[str, Any]
) -> None:
    """Writes selection.json: numbers, shares and names of the choice, and `facts` such as settings and versions."""
    cases = set(pool.case_of(choice.indices).tolist())
    count, labelled, chosen = len(pool), int(is_labelled.sum()), len(choice.indices)
    files.write_json(
        path,
        {
            **facts,
            "pool_units": count,
            "labelled_units": labelled,
            "chosen_units": chosen,
            "fraction_before": labelled / count,
            "fraction_chosen": chosen / count,
            "fraction_after": (labelled + chosen) / count,
            "volumes_of_pool": len(pool.cases),
            "volumes_chosen": len(cases),
            "patients_of_pool": len({case.patient for case in pool.cases}),
            "patients_chosen": len({pool.cases[case].patient for case in cases}),
            "chosen": [pool.name(unit) for unit in choice.indices],
        },
    )


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Returns the lines of a CSV file with these columns."""
    expected = f"a CSV file with the column{'s' * (len(columns) > 1)} {', '.join(columns)}"
    try:
        files.refuse_special(path)
        with open(path, newline="", encoding="utf-8-sig") as file:  # with the mark that spreadsheets write
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise DataError(path, expected=expected, found=found, remedy=_REMEDY) from error
    if set(columns) - set(names):
        found = f"the columns {', '.join(map(str, names)) or 'none'}"
        remedy = f"The first line must be `{','.join(columns)}`{' or hold that name' * (len(columns) == 1)}."
        raise DataError(path, expected=expected, found=found, remedy=remedy)
    short = [f"line {number}" for number, row in enumerate(rows, 2) if None in row or None in row.values()]
    _refuse(path, [f"{text} has another number of cells" for text in short], "one cell per column in every line")
    return rows


def _known_units(path: Path, rows: list[dict[str, str]], pool: Units) -> list[int]:
    """Returns the pool index of each line's unit."""
    indices, problems = [], []
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        name = row["unit_id"].strip()
        try:
            indices.append(pool.find(name))
        except KeyError:
            problems.append(f"line {number}: {pool.unknown(name) if len(problems) < _SHOWN else name}")
        if name in seen:
            problems.append(f"line {number}: {name} for the second time")
        seen.add(name)
    _refuse(path, problems, f"units of this pool of {len(pool)}, each once")
    return indices


def _refuse(path: Path, problems: list[str], expected: str) -> None:
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(path, expected=expected, found="; ".join(problems[:_SHOWN]) + more, remedy=_REMEDY)
