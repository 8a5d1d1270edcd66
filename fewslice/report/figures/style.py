"""Colours and figures of the reports: Agg only, no global state, small PNG files."""

from __future__ import annotations

import base64
import io
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, RULE = "#22303c", "#6b7785", "#d9dfe5"
METHOD_COLOURS = (
    "#8a8f98", "#1f6f9c", "#d1603d", "#4c8c6b", "#8561a8", "#b58a1b", "#c2477f", "#3aa6b0", "#7a5230", "#5563c9",
    "#94a83a", "#2f4b5e",
)  # the baseline is grey  # fmt: skip
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
    """Returns the figure as PNG. A palette keeps pages of pictures small; it may shift the colours of thin lines.

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


def wrapped(text: str, width: int) -> str:
    """Returns a label on lines of at most `width` characters, without matplotlib's mathematics."""
    return "\n".join(textwrap.wrap(plain(text), width, break_long_words=False))


def data_uri(png: bytes) -> str:
    """Returns PNG bytes as an address that stands inside a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
