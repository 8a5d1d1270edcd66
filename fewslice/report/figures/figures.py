"""The report's figures as PNG files, for slides and papers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fewslice.core.files import write_bytes
from fewslice.report.figures import style
from fewslice.report.figures.contours import Fetch
from fewslice.report.figures.curves import plot_curves
from fewslice.report.figures.outlines import plot_methods
from fewslice.report.figures.overview import plot_overview
from fewslice.report.reading.methods import Method, by_setup
from fewslice.report.tables.statistics import best_method, structures
from fewslice.report.tables.trainings import needs_overview, scored_of


def compared(methods: Sequence[Method]) -> list[Method]:
    """Returns the methods to draw outlines of: the baseline, if any, and the best other one by mean test Dice.

    Args:
        methods: Of one labelled split.
    """
    baseline = next((method for method in methods if method.has_scores and method.is_baseline), None)
    others = [best_method(methods) or next((m for m in methods if m.has_scores and m is not baseline), None)]
    return [method for method in (baseline, *others) if method is not None]


def save_figures(methods: Sequence[Method], fetch: Fetch, folder: str | Path) -> list[Path]:
    """Writes curves.png (loss and validation) and contours.png (best, median and worst test volume) into `folder`.

    With several labelled splits there is one of each per split, such as curves_tr1_c1.png. Many methods or several
    splits are also shown together, in overview.png.

    Args:
        methods: The methods of one dataset.
        fetch: case_id -> the volume on its original grid.
        folder: Where to write.

    Returns:
        The files written; no contours without tested methods.
    """
    trained = scored_of(methods) or list(methods)
    splits, palette, figures = by_setup(trained), style.colour_of(trained), {}
    if needs_overview(trained):
        figures["overview.png"] = plot_overview(trained)
    for same in splits.values():
        ending = f"_{re.sub(r'[^A-Za-z0-9]+', '_', same[0].runs[0].split)}.png" if len(splits) > 1 else ".png"
        figures[f"curves{ending}"] = plot_curves(same, palette)
        shown = compared(same)
        if shown:
            figures[f"contours{ending}"] = plot_methods(shown, fetch, structures(shown))[0]
    paths = []
    for name, figure in figures.items():
        paths.append(Path(folder) / name)
        write_bytes(paths[-1], style.png_bytes(figure, colours=256 if name.startswith("contours") else 0))
    return paths
