"""The report's figures as PNG files, for slides and papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewslice.files import write_bytes
from fewslice.report import style
from fewslice.report.contours import Fetch, plot_methods
from fewslice.report.curves import plot_curves
from fewslice.report.methods import Method
from fewslice.report.statistics import structures


def compared(methods: Sequence[Method]) -> list[Method]:
    """Returns the methods to draw outlines of: the baseline, if any, and the last other one that was tested."""
    scored = [method for method in methods if method.has_scores]
    baseline = next((method for method in scored if method.is_baseline), None)
    others = [method for method in scored if method is not baseline]
    return [method for method in (baseline, *others[-1:]) if method is not None]


def save_figures(methods: Sequence[Method], fetch: Fetch, folder: str | Path) -> list[Path]:
    """Writes curves.png (loss and validation) and contours.png (best, median and worst test volume) into `folder`.

    Args:
        methods: The methods of one dataset.
        fetch: case_id -> the volume on its original grid.
        folder: Where to write.

    Returns:
        The files written; no contours without tested methods.
    """
    shown = compared(methods)
    trained = [method for method in methods if method.has_scores] or list(methods)
    figures = {"curves.png": plot_curves(trained)}
    if shown:
        figures["contours.png"] = plot_methods(shown, fetch, structures(shown))
    paths = []
    for name, figure in figures.items():
        paths.append(Path(folder) / name)
        write_bytes(paths[-1], style.png_bytes(figure))
    return paths
