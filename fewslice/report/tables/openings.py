"""The table of how often test volumes were scored, and by how many different settings."""

from __future__ import annotations

from collections.abc import Sequence

from fewslice.report.reading.openings import Opening
from fewslice.report.tables.table import Table
from fewslice.settings.facts import CASES, SPLIT


def settings_of(found: Sequence[Opening]) -> int:
    """Returns the number of different settings; seeds do not count."""
    return len({_settings(one) for one in found})


def openings_table(found: Sequence[Opening]) -> Table | None:
    """Returns a row per method, labelled split and list of test volumes; None if nothing was scored."""
    rows: dict[tuple[str, ...], list[Opening]] = {}
    for one in found:
        count, _, digest = str(one.facts["settings"].get(f"{CASES}test", "")).partition(" ")
        where = (one.facts["setup"].get(SPLIT, "–"), f"{count} volumes ({digest[:4]})" if count else "–")
        rows.setdefault((one.facts["method"], *where), []).append(one)
    header = ("Opened the test volumes", "labelled split", "test list", "settings", "runs", "networks")
    cells = (
        (*place, str(settings_of(ones)), str(len(ones)), str(sum(one.networks for one in ones)))
        for place, ones in sorted(rows.items())
    )
    return Table(header, tuple(cells), css="") if rows else None


def _settings(one: Opening) -> str:
    return repr([one.facts["method"], *(sorted(one.facts[name].items()) for name in ("setup", "settings"))])
