"""Colours and figures of the reports: Agg only, no global state, small PNG files."""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the hints of all figures, which nobody evaluates: Matplotlib is loaded when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fewslice.report.reading.methods import Method

INK, QUIET, RULE = "#22303c", "#6b7785", "#d9dfe5"
METHOD_COLOURS = (
    "#8a8f98", "#1f6f9c", "#d1603d", "#4c8c6b", "#8561a8", "#b58a1b", "#c2477f", "#3aa6b0", "#7a5230", "#5563c9",
    "#94a83a", "#2f4b5e",
)  # the baseline is grey  # fmt: skip
LEGEND = {"frameon": False, "fontsize": 9, "labelcolor": INK}


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of a size in inches, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def colour_of(methods: Sequence[Method]) -> dict[str, str]:
    """Returns label -> colour, the same in every figure and setup; grey is kept for the baseline."""
    labels = {method.label: method.is_baseline for method in methods}
    others = itertools.cycle(METHOD_COLOURS[1:])
    return {label: METHOD_COLOURS[0] if is_baseline else next(others) for label, is_baseline in labels.items()}


def panels(
    count: int, per_row: int, *, width: float = 9, height: float, above: float = 0.2, **how: Any
) -> tuple[Figure, Sequence[Axes]]:
    """Returns a figure with `count` axes, `per_row` in a row of `height` inches; the lowest ones have their ticks."""
    columns, rows = min(count, per_row), math.ceil(count / per_row)
    figure = new_figure(width, above + height * rows)
    grid = figure.subplots(rows, columns, squeeze=False, **how).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes in grid[max(0, count - columns) : count]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, grid[:count]


def heading(axes: Axes, label: str, width: int = 34) -> None:
    """Gives a small panel its title."""
    axes.set_title(wrapped(label, width), loc="left", fontsize=9, color=INK, fontweight="normal")


def calm(axes: Axes, *, xlabel: str = "", title: str = "") -> None:
    """Gives axes the quiet look of the report."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(True, axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=9, length=0)
    axes.set_xlabel(plain(xlabel), color=QUIET, fontsize=9)
    axes.set_title(plain(title), loc="left", fontsize=10.5, color=INK, fontweight="bold")


def plain(text: str) -> str:
    """Returns `text` without matplotlib's mathematics: a dollar sign stays a dollar sign."""
    return str(text).replace("$", r"\$")


def png_bytes(figure: Figure, *, dpi: int = 150, colours: int = 256) -> bytes:
    """Returns the figure as PNG. A palette keeps pages of pictures small; it may shift the colours of thin lines.

    Args:
        colours: Size of the palette, 0 for none.
    """
    from PIL import Image

    buffer = io.BytesIO()
    fast = {"compress_level": 1} if colours else None  # it is read again at once
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", pil_kwargs=fast)
    if not colours:
        return buffer.getvalue()
    buffer.seek(0)
    image = Image.open(buffer).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    small = io.BytesIO()
    image.save(small, format="png")
    return small.getvalue()


def wrapped(text: str, width: int) -> str:
    """Returns a label on lines of at most `width` characters, without matplotlib's mathematics."""
    return "\n".join(textwrap.wrap(plain(text), width, break_long_words=False))
