"""Colours and figures of the reports: Agg only, no global state, small PNG files."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, RULE = "#22303c", "#6b7785", "#d9dfe5"
METHOD_COLOURS = ("#8a8f98", "#1f6f9c", "#d1603d", "#4c8c6b", "#8561a8", "#b58a1b")  # the baseline is grey
STRUCTURE_COLOURS = ("#35c3d6", "#ffc23d", "#ff6b57", "#9be36f", "#c58bff", "#ff9fd0", "#7fa8ff")


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of a size in inches, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def calm(axes: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Gives axes the quiet look of the report."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.grid(True, axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=9, length=0)
    axes.set_xlabel(plain(xlabel), color=QUIET, fontsize=9)
    axes.set_ylabel(plain(ylabel), color=QUIET, fontsize=9)
    axes.set_title(plain(title), loc="left", fontsize=10.5, color=INK, fontweight="bold")


def plain(text: str) -> str:
    """Returns `text` without matplotlib's mathematics: a dollar sign stays a dollar sign."""
    return str(text).replace("$", r"\$")


def png_bytes(figure: Figure, *, dpi: int = 150, colours: int = 256) -> bytes:
    """Returns the figure as PNG, reduced to a palette, which a page with several figures needs to stay small.

    Args:
        figure: The figure.
        dpi: Pixels per inch.
        colours: Size of the palette, 0 for none.
    """
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    if not colours:
        return buffer.getvalue()
    buffer.seek(0)
    image = Image.open(buffer).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    small = io.BytesIO()
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def data_uri(png: bytes) -> str:
    """Returns PNG bytes as an address that stands inside a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
