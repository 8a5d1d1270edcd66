"""Tables of text for the terminal and the page, and how numbers stand in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fewslice.core import console
from fewslice.core.errors import few

MEAN = "mean"  # of the structures
# Metric -> title and digits.
METRICS = {"dice": ("Dice", 3), "hd95_mm": ("HD95 (mm)", 1), "assd_mm": ("ASSD (mm)", 2),
           "hd95_voxels": ("HD95 (voxels)", 1), "nsd": ("Surface Dice", 3), "object_f1": ("Object F1", 3),
           "object_dice": ("Object Dice", 3), "object_hausdorff_voxels": ("Object Hausdorff (voxels)", 1)}  # fmt: skip
MOST_COLUMNS = 5  # more methods than this are rows instead of columns


@dataclass(frozen=True)
class Table:
    """Rows of plain text under a header; the first column names the row, the others are numbers.

    `best` holds (row, column) pairs to emphasise, `rules` the rows above which a line is drawn. `short` is a header
    for the terminal, where the other would be too wide; `css` names classes of the page's style sheet.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    rules: frozenset[int] = frozenset()
    short: tuple[str, ...] = ()
    css: str = "numbers"

    def text(self) -> str:
        """Returns the table with aligned columns."""
        header = self.short or self.header
        widths = [max(len(row[i]) for row in (header, *self.rows)) for i in range(len(header))]
        lines = [header, ["-" * width for width in widths], *self.rows]
        return "\n".join(
            "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(pairs)).rstrip()
            for pairs in (list(zip(line, widths, strict=True)) for line in lines)
        )


def number(value: float, *, digits: int = 3, signed: bool = False) -> str:
    """Returns "0.745", "−0.012", with `signed` "+0.025"; "–" for NaN."""
    if not math.isfinite(value):
        return "–"
    negative = value < 0 and float(f"{value:.{digits}f}") != 0
    return ("−" if negative else "+" if signed else "") + f"{abs(value):.{digits}f}"


def plus_minus(mean: float, width: float, *, digits: int = 3, signed: bool = False) -> str:
    """Returns "0.745 ± 0.012", or the mean alone where the width is undefined."""
    text = number(mean, digits=digits, signed=signed)
    return f"{text} ± {number(width, digits=digits)}" if math.isfinite(width) else text


def percent(fraction: float) -> str:
    """Returns a fraction as tables show it: "1 %", "2.5 %", "–" for NaN."""
    return f"{round(100 * fraction, 4):g} %" if math.isfinite(fraction) else "–"


def count(value: float) -> str:
    """Returns a whole number with its thousands apart, "–" for NaN."""
    return f"{int(value):,}".replace(",", " ") if math.isfinite(value) else "–"


def duration(seconds: float) -> str:
    """Returns "1 min 10 s", "–" for NaN."""
    return console.duration(seconds) if math.isfinite(seconds) else "–"


def structure_name(name: str) -> str:
    """Returns the name of a structure as a heading."""
    return name if name == MEAN else name.upper()


def unique_text(values: Iterable[object], *, limit: int = 8) -> str:
    """Returns different values, separated by commas; of more than `limit` it says how many more."""
    return few(list(dict.fromkeys(map(str, values))), limit) or "–"


def highest(values: Sequence[float]) -> list[int]:
    """Returns where the highest of at least two different values stands."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2 or min(finite) == max(finite):
        return []
    return [index for index, value in enumerate(values) if value == max(finite)]
