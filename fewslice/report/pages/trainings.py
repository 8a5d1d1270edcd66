"""The report of trainings: a single HTML file with its figures inside, and a text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewslice.core.errors import FewSliceError
from fewslice.core.files import write_bytes
from fewslice.report.figures import style
from fewslice.report.figures.curves import MOST_TOGETHER, plot_curves, plot_panels
from fewslice.report.figures.native import Fetch
from fewslice.report.figures.outlines import compared, plot_methods, shown_runs
from fewslice.report.figures.overview import plot_overview
from fewslice.report.figures.pseudo_curves import plot_pseudo_labels
from fewslice.report.pages.page import render_text, write_page
from fewslice.report.reading.methods import Method, by_setup
from fewslice.report.reading.openings import Opening, openings
from fewslice.report.reading.runs import not_vouched
from fewslice.report.tables import trainings as tables
from fewslice.report.tables.statistics import structures

TITLE = "FewSlice report"


def write_training_report(
    methods: Sequence[Method],
    out_path: str | Path,
    *,
    title: str = TITLE,
    fetch: Fetch | None = None,
    left_out: Sequence[str] = (),
) -> Path:
    """Writes a self-contained report of trainings. What is missing in a run is named in the report.

    Args:
        methods: Of one dataset, see `fewslice.report.reading.methods.read_methods`.
        out_path: The HTML file, written atomically.
        fetch: case_id -> volume on its original grid (image, label, spacing_mm), as the dataset's reader
            gives it; without it there are no outlines.
        left_out: Lines on runs that are not among the methods.

    Returns:
        The path of the report.

    Raises:
        DataError: a table of pseudo-labels is damaged.
    """
    segmenting, pretraining = _by_kind(methods)
    setups, palette = by_setup(segmenting) or {"": []}, style.colour_of(segmenting)
    return write_page(
        "trainings.html.j2",
        out_path,
        [run for method in (*pretraining, *segmenting) for run in method.runs],
        tables=tables,
        title=title,
        methods=methods,
        opened=_opened(methods),
        of_all=dict(tables.facts(methods)),
        facts=tables.facts(segmenting or pretraining),
        segmenting=segmenting,
        overview=plot_overview(segmenting) if tables.needs_overview(segmenting) else None,
        setups=[_setup(name, same, palette, fetch) for name, same in setups.items()],
        missing=[*left_out, *missing_lines(methods)],
        pretraining=[(method.label, plot_curves([method])) for method in pretraining if method.is_logged],
    )


def text_report(methods: Sequence[Method]) -> str:
    """Returns the text for the terminal: facts, and per labelled split its tables and finding."""
    segmenting, _ = _by_kind(methods)
    setups = by_setup(segmenting) or {"": methods}
    values = {"tables": tables, "facts": tables.facts(methods), "segmenting": segmenting, "setups": setups}
    values |= {"methods": methods, "opened": _opened(methods)}
    return render_text("trainings.txt.j2", **values)


def _opened(methods: Sequence[Method]) -> list[Opening]:
    return openings(run for method in methods for run in method.runs)


def _by_kind(methods: Sequence[Method]) -> tuple[list[Method], list[Method]]:
    return tuple([method for method in methods if method.is_pretraining == kind] for kind in (False, True))


def missing_lines(methods: Sequence[Method]) -> list[str]:
    """Returns the problems of each run, a line each, and one on runs that nothing vouches for."""
    has_splits = len({method.setup for method in methods} - {""}) > 1
    lines = [
        f"{method.label}{f', {run.split}' if has_splits and method.setup else ''}, seed {run.seed}: {problem}"
        for method in methods
        for run in method.runs
        for problem in run.problems
    ]
    return lines + not_vouched([run for method in methods for run in method.runs])


def _setup(name: str, methods: Sequence[Method], palette: Mapping[str, str], fetch: Fetch | None) -> dict[str, Any]:
    """Returns the figures of the methods of one labelled split."""
    logged = [method for method in methods if method.is_logged]
    is_many = len(logged) > MOST_TOGETHER
    return {
        "name": name,
        "methods": methods,
        "has_seeds": any(len(method.runs) > 1 for method in methods),
        "outlines": _outlines(tables.scored_of(methods), fetch),
        "curves": plot_curves(methods, palette) if logged else None,
        "losses": plot_panels(logged, "loss", palette) if is_many else None,
        "pseudo_labels": plot_pseudo_labels(methods, palette),
    }


def _outlines(scored: Sequence[Method], fetch: Fetch | None) -> dict[str, Any] | None:
    """Returns pairs of a method with the seed that is drawn, and the figures: of `shown` together, of `more` each."""
    if not scored:
        return None
    shown = compared(scored)
    more = [method for method in scored if method not in shown]
    pairs = list(zip([*shown, *more], [run.seed for run in shown_runs([*shown, *more])], strict=True))
    found = {"chosen_by": pairs[len(shown) - 1], "is_of_best": len(scored) > 2, "figures": [], "missing": ""}
    found["beside"] = shown[0].label if len(shown) > 1 else ""
    if fetch is None:
        return {**found, "missing": "The images of the dataset were not at hand when this was made."}
    try:
        figures = plot_methods(shown, fetch, structures(scored), more=more)
    except FewSliceError as error:
        return {**found, "missing": str(error)}
    return {**found, "figures": figures, "more": pairs[len(shown) :]}


def save_figures(methods: Sequence[Method], fetch: Fetch, folder: str | Path) -> list[Path]:
    """Writes curves.png (loss and validation) and contours.png (best, median and worst test volume) into `folder`.

    With several labelled splits there is one of each per split, such as curves_tr1_c1.png. Many methods or several
    splits are also shown together, in overview.png.

    Returns:
        The files written; no contours without tested methods.
    """
    trained = tables.scored_of(methods) or list(methods)
    splits, palette, figures = by_setup(trained), style.colour_of(trained), {}
    if tables.needs_overview(trained):
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
