"""The report of trainings: a single HTML file with its figures inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewslice.core.console import duration
from fewslice.core.errors import FewSliceError
from fewslice.report.figures import style
from fewslice.report.figures.contours import Fetch
from fewslice.report.figures.curves import MOST_TOGETHER, plot_curves, plot_panels
from fewslice.report.figures.figures import compared
from fewslice.report.figures.outlines import plot_methods, shown_runs
from fewslice.report.figures.overview import plot_overview
from fewslice.report.figures.pseudo_curves import plot_pseudo_labels
from fewslice.report.pages.page import Picture, drawing, photographs, write_page
from fewslice.report.reading.methods import Method, by_setup
from fewslice.report.tables import trainings as tables
from fewslice.report.tables.statistics import structures
from fewslice.report.tables.table import Table

TITLE = "FewSlice report"


def write_training_report(
    methods: Sequence[Method], out_path: str | Path, *, title: str = TITLE, fetch: Fetch | None = None
) -> Path:
    """Writes a self-contained report of trainings. What is missing in a run is named in the report.

    Args:
        methods: Of one dataset, see `fewslice.report.reading.methods.read_methods`.
        out_path: The HTML file, written atomically.
        title: Its heading.
        fetch: case_id -> volume on its original grid (image, label, spacing_mm), as the dataset's reader
            gives it; without it there are no outlines.

    Returns:
        The path of the report.

    Raises:
        DataError: a table of pseudo-labels is damaged.
    """
    segmenting = [method for method in methods if not method.is_pretraining]
    pretraining = [method for method in methods if method.is_pretraining]
    facts = tables.facts(segmenting or pretraining)
    of_all = dict(tables.facts(methods))
    setups, palette = by_setup(segmenting), style.colour_of(segmenting)
    parts = [_setup(name * (len(setups) > 1), same, palette, fetch) for name, same in setups.items()]
    loss = "Dashed: the loss of random embeddings; a loss near it means that nothing was learned."
    return write_page(
        "trainings.html.j2",
        out_path,
        [run for method in (*pretraining, *segmenting) for run in method.runs],
        title=title,
        subtitle=f"{of_all['Dataset']}, labelled split {of_all['Labelled split']}, tested on {of_all['Tested on']}",
        overview=_overview(segmenting),
        setups=parts or [_setup("", [], palette, fetch)],
        missing=missing_lines(methods),
        pretraining=[
            (method.label, drawing(plot_curves([method]), alt=f"Training curves: {method.label}", caption=loss))
            for method in pretraining
            if method.is_logged
        ],
        facts=facts,
        runs_table=_runs_table(methods),
    )


def missing_lines(methods: Sequence[Method]) -> list[str]:
    """Returns what is missing in each run, a line each."""
    has_splits = len({method.setup for method in methods} - {""}) > 1
    return [
        f"{method.label}{f', {run.split}' if has_splits and method.setup else ''}, seed {run.seed}: {problem}"
        for method in methods
        for run in method.runs
        for problem in run.problems
    ]


def _overview(methods: Sequence[Method]) -> dict[str, Any] | None:
    if not tables.needs_overview(methods):
        return None
    caption = "Large marks: mean over seeds; small ones: single seeds. Dashed: the baseline."
    figure = drawing(plot_overview(methods), alt="Mean Dice of all methods", caption=caption)
    return {"figure": figure, "table": tables.overview_table(methods) if len(by_setup(methods)) > 1 else None}


def _setup(name: str, methods: Sequence[Method], palette: Mapping[str, str], fetch: Fetch | None) -> dict[str, Any]:
    """Returns the comparison of the methods of one labelled split."""
    logged = [method for method in methods if method.is_logged]
    is_many = len(logged) > MOST_TOGETHER
    caption = "Validation Dice; pale: all other methods. " * is_many + "The dot marks the best validation of each run."
    of_loss = "Training loss; the first steps may lie above the axes."
    pseudo = plot_pseudo_labels(methods, palette)
    return {
        "heading": name[:1].upper() + name[1:],
        "comparison": tables.comparison_table(methods),
        "remarks": tables.remarks(methods),
        "results": tables.result_tables(methods),
        "has_seeds": any(len(method.runs) > 1 for method in methods),
        "outlines": _outlines(tables.scored_of(methods), fetch),
        "curves": drawing(plot_curves(methods, palette) if logged else None, alt="Training curves", caption=caption),
        "losses": drawing(
            plot_panels(logged, "loss", palette) if is_many else None, alt="Training loss", caption=of_loss
        ),
        "pseudo_labels": pseudo and drawing(pseudo[0], alt="Pseudo-labels from round to round", caption=pseudo[1]),
        "volumes": tables.volume_table(methods),
    }


def _outlines(scored: Sequence[Method], fetch: Fetch | None) -> dict[str, Any] | None:
    if not scored:
        return None
    found: dict[str, Any] = {"missing": [], "first": None, "others": []}
    if fetch is None:
        return {**found, "missing": ["The images of the dataset were not at hand when this was made."]}
    shown = compared(scored)
    more = [method for method in scored if method not in shown]
    try:
        first, *others = plot_methods(shown, fetch, structures(scored), more=more)
    except FewSliceError as error:
        return {**found, "missing": [str(error)]}
    seeds = [run.seed for run in shown_runs([*shown, *more])]
    best = "the method with the best mean Dice, " if len(scored) > 2 else ""
    caption = (
        f"Chosen by the mean Dice of {best}“{shown[-1].label}” (seed {seeds[len(shown) - 1]}). Above each slice: its "
        "Dice per structure. Lines are predictions, filled areas the truth."
    )
    found["first"] = photographs(first, alt="Predicted and true outlines", caption=caption, dpi=130)
    for method, seed, figure in zip(more, seeds[len(shown) :], others, strict=False):
        caption = f"The same volumes and slices by “{method.label}” (seed {seed})."
        found["others"].append((method.label, _small(figure, method.label, caption)))
    return found


def _small(figure: Any, label: str, caption: str) -> Picture:
    return photographs(figure, alt=f"Outlines: {label}", caption=caption, dpi=90)  # there is one for each method


def _runs_table(methods: Sequence[Method]) -> Table:
    rows = tuple(
        (
            method.label,
            run.split,
            str(run.seed),
            str(run.config.get("n_iter", "?")),
            duration(run.seconds) if math.isfinite(run.seconds) else "–",
            run.digest,
        )
        for method in methods
        for run in method.runs
    )
    return Table(("Run", "Split", "Seed", "Steps", "Training time", "Digest"), rows, css="")
