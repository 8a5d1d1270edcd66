"""ACDC's Info.cfg: which frames of a patient are ED and ES, diagnosis group, height, weight."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.readers.access import readable

_REMEDY = "Restore the file from ACDC's archive."


def phases_of_info(info: Path) -> dict[str, int]:
    """Returns {"ED": frame, "ES": frame}.

    Raises:
        DataError: one of the two lines is missing or no number, or both name the same frame.
    """
    lines = _lines(info)
    found = {phase: int(lines[phase]) for phase in ("ED", "ES") if re.fullmatch(r"\d+", lines.get(phase, ""))}
    if len(found) < 2 or found["ED"] == found["ES"]:
        raise DataError(
            info,
            expected="the lines ED: <frame> and ES: <frame>, two different frames",
            found=", ".join(f"{phase}: {frame}" for phase, frame in found.items()) or "neither",
            remedy=_REMEDY,
        )
    return found


def facts_of_info(info: Path) -> dict[str, str | float]:
    """Returns those of "group" (such as "DCM"), "height_cm" and "weight_kg".

    Raises:
        DataError: a height or weight is no positive number.
    """
    lines = _lines(info)
    return patient_facts(lines.get("Group"), lines.get("Height"), lines.get("Weight"), info)


def facts_of_row(row: Mapping[str, str], path: Path) -> dict[str, str | float]:
    """Returns the same from the columns group, height_cm and weight_kg of a row of the spacing table."""
    return patient_facts(row.get("group"), row.get("height_cm"), row.get("weight_kg"), path)


def patient_facts(
    group: str | None, height_cm: str | None, weight_kg: str | None, path: Path
) -> dict[str, str | float]:
    """Returns the facts that are given. Raises `DataError` where a number is none; `path` is their file."""
    facts: dict[str, str | float] = {"group": group.strip()} if group and group.strip() else {}
    for name, text in (("height_cm", height_cm), ("weight_kg", weight_kg)):
        if text is None or not text.strip():
            continue
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise DataError(path, expected=f"a positive number as {name}", found=repr(text), remedy=_REMEDY)
        facts[name] = number
    return facts


def _lines(info: Path) -> dict[str, str]:
    with readable(info):
        text = info.read_text(encoding="utf-8", errors="replace")
    return dict(re.findall(r"(?m)^[ \t]*(\w+)[ \t]*:[ \t]*(.*?)[ \t\r]*$", text))
