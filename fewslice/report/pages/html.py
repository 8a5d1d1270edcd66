"""The report of one or several runs: a single HTML file with its figures inside."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewslice.core.console import duration
from fewslice.core.errors import FewSliceError
from fewslice.core.files import write_text
from fewslice.report.figures import style
from fewslice.report.figures.contours import Fetch
from fewslice.report.figures.curves import MOST_TOGETHER, colour_of, plot_curves, plot_panels
from fewslice.report.figures.figures import compared
from fewslice.report.figures.outlines import plot_methods, shown_runs
from fewslice.report.figures.overview import needs_overview, overview_table, plot_overview
from fewslice.report.figures.pseudo_curves import plot_pseudo_labels
from fewslice.report.pages import page
from fewslice.report.reading.methods import Method, by_split, read_methods
from fewslice.report.reading.runs import Run
from fewslice.report.reading.titles import named_split
from fewslice.report.tables.findings import finding
from fewslice.report.tables.result_tables import MOST_COLUMNS, difference_table, result_tables
from fewslice.report.tables.statistics import structures
from fewslice.report.tables.tables import facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def build_report(
    run_dirs: Sequence[str | Path],
    out_path: str | Path,
    *,
    title: str = "FewSlice report",
    fetch: Fetch | None = None,
) -> Path:
    """Writes a self-contained report of runs. What is missing in a run is named in the report.

    Args:
        run_dirs: Run directories, in any order.
        out_path: The HTML file, written atomically.
        title: Its heading.
        fetch: case_id -> volume on its original grid (image, label, spacing_mm), as the dataset's reader
            gives it; without it there are no outlines.

    Returns:
        The path of the report.

    Raises:
        ConfigError: no run directory was given, or runs of several datasets.
        DataError: one of them is none, or a table in it is damaged.
    """
    methods = read_methods(run_dirs)
    segmenting = [method for method in methods if not method.runs[0].is_contrastive]
    pretraining = [method for method in methods if method.runs[0].is_contrastive]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="sub">{html.escape(_subtitle(methods))}</p>',
        _overview(segmenting),
        *_splits(segmenting, fetch),
        _missing(methods),
        _pretraining(pretraining),
        _commands(methods),
        _provenance(methods, segmenting or pretraining),
    ]
    write_text(out_path, page.page(title, "\n".join(part for part in parts if part)))
    return Path(out_path)


def _subtitle(methods: Sequence[Method]) -> str:
    named = dict(facts(methods))
    return f"{named['Dataset']}, labelled split {named['Labelled split']}, tested on {named['Tested on']}"


def _overview(methods: Sequence[Method]) -> str:
    if not needs_overview(methods):
        return ""
    figure = plot_overview(methods)
    caption = "Large marks: mean over seeds; small ones: single seeds. Dashed: the baseline."
    table = overview_table(methods).html(css="numbers methods") if len(by_split(methods)) > 1 else ""
    return f"<h2>All methods</h2>{_figure(figure, alt='Mean Dice of all methods', caption=caption)}{table}"


def _splits(methods: Sequence[Method], fetch: Fetch | None) -> list[str]:
    """Returns the comparison of the methods, one part per labelled split."""
    if not methods:
        return [page.paragraphs(finding(methods))]
    palette, splits = colour_of(methods), by_split(methods)
    parts = []
    for name, same in splits.items():
        inner = [
            f'<section class="finding">{page.paragraphs(finding(same))}</section>',
            _results(same),
            _contours(same, fetch),
            _curves(same, palette),
            _pseudo_labels(same, palette),
            _volumes(same),
        ]
        heading = f'<h2 class="split">Labelled split {html.escape(name)}</h2>' if len(splits) > 1 else ""
        parts.append(heading + "\n".join(part for part in inner if part))
    return parts


def _results(methods: Sequence[Method]) -> str:
    if not any(method.has_scores for method in methods):
        return ""
    has_seeds = any(len(method.runs) > 1 for method in methods)
    note = "Mean over test volumes on their original grid. High is good for Dice, low for HD95 and ASSD. "
    note += "± is the standard deviation over seeds. " if has_seeds else ""
    note += (
        "Δ is the difference on the seeds that both have. "
        if sum(method.has_scores for method in methods) > MOST_COLUMNS
        else ""
    )
    note += "A structure that is absent in both truth and prediction counts in no mean."
    found = result_tables(methods)
    tables = "".join(table.html(css="numbers methods" if len(found) > 1 else "numbers") for table in found)
    return f"<h2>Result</h2>{tables}{page.paragraphs([note], 'note')}"


def missing_lines(methods: Sequence[Method]) -> list[str]:
    """Returns what is missing in each run, a line each."""
    has_splits = len({method.split for method in methods} - {""}) > 1
    return [
        f"{method.label}{f', {method.split}' if has_splits and method.split else ''}, seed {run.seed}: {problem}"
        for method in methods
        for run in method.runs
        for problem in run.problems
    ]


def _missing(methods: Sequence[Method]) -> str:
    lines = missing_lines(methods)
    return page.notice("What is missing", lines) if lines else ""


def _figure(figure: Figure, *, alt: str, caption: str, css: str = "", dpi: int = 150, colours: int = 0) -> str:
    source = style.data_uri(style.png_bytes(figure, dpi=dpi, colours=colours))
    return (
        f'<figure class="{css}"><img src="{source}" alt="{html.escape(alt)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _contours(methods: Sequence[Method], fetch: Fetch | None) -> str:
    scored = [method for method in methods if method.has_scores]
    if not scored:
        return ""
    heading = "<h2>Outlines: best, median and worst test volume</h2>"
    if fetch is None:
        return heading + page.notice("No pictures", ["The images of the dataset were not at hand when this was made."])
    shown = compared(scored)
    more = [method for method in scored if method not in shown]
    try:
        first, *others = plot_methods(shown, fetch, structures(scored), more=more)
    except FewSliceError as error:
        return heading + page.notice("No pictures", [str(error)])
    seeds = [run.seed for run in shown_runs([*shown, *more])]
    best = "the method with the best mean Dice, " if len(scored) > 2 else ""
    caption = (
        f"Chosen by the mean Dice of {best}“{shown[-1].label}” (seed {seeds[len(shown) - 1]}). Above each slice: its "
        "Dice per structure. Lines are predictions, filled areas the truth."
    )
    parts = [_figure(first, alt="Predicted and true outlines", caption=caption, css="pictures", dpi=130, colours=256)]
    for method, seed, figure in zip(more, seeds[len(shown) :], others, strict=False):
        caption = f"The same volumes and slices by “{method.label}” (seed {seed})."
        look = {"css": "pictures", "dpi": 90, "colours": 256}  # small: there is one for each method
        parts.append(
            page.folded(method.label, _figure(figure, alt=f"Outlines: {method.label}", caption=caption, **look))
        )
    return heading + "".join(parts)


def _curves(methods: Sequence[Method], palette: Mapping[str, str]) -> str:
    logged = [method for method in methods if any(run.curve for run in method.runs)]
    if not logged:
        return ""
    is_many = len(logged) > MOST_TOGETHER
    caption = "Validation Dice; pale: all other methods. " if is_many else ""
    caption += "The dot marks the best validation of each run."
    figure = _figure(plot_curves(methods, palette), alt="Training curves: segmentation", caption=caption)
    if is_many:
        loss = _figure(
            plot_panels(logged, "loss", palette),
            alt="Training loss",
            caption="Training loss; the first steps may lie above the axes.",
        )
        figure += page.folded("Training loss", loss)
    return f"<h2>Training</h2>{figure}"


def _pretraining(methods: Sequence[Method]) -> str:
    parts = []
    for method in methods:
        if any(run.curve for run in method.runs):
            caption = "Dashed: the loss of random embeddings; a loss near it means that nothing was learned."
            figure = _figure(plot_curves([method]), alt=f"Training curves: {method.label}", caption=caption)
            parts.append(f"<h3>{html.escape(method.label)}</h3>{figure}")
    return "<h2>Pretraining</h2>" + "".join(parts) if parts else ""


def _pseudo_labels(methods: Sequence[Method], palette: Mapping[str, str]) -> str:
    drawn = plot_pseudo_labels(methods, palette)
    if drawn is None:
        return ""
    return "<h2>Pseudo-labels</h2>" + _figure(drawn[0], alt="Pseudo-labels from round to round", caption=drawn[1])


def _volumes(methods: Sequence[Method]) -> str:
    table = difference_table(methods)
    if table is None:
        return ""
    note = "Mean Dice over structures. Δ is the difference from the baseline on the same volume and seeds."
    css = "numbers volumes many" if table.short else "numbers volumes"
    return f"<h2>Test volumes</h2>{table.html(css=css)}{page.paragraphs([note], 'note')}"


def _commands(methods: Sequence[Method]) -> str:
    in_order = sorted(methods, key=lambda method: not method.runs[0].is_contrastive)  # as they were run
    lines = [run.command for method in in_order for run in method.runs if run.command]
    if not lines:
        return ""
    return f"<h2>What was done</h2><pre>{html.escape(chr(10).join(dict.fromkeys(lines)))}</pre>"


def _provenance(methods: Sequence[Method], compared: Sequence[Method]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(k)}</th><td>{html.escape(v)}</td></tr>' for k, v in facts(compared)
    )
    runs = [run for method in methods for run in method.runs]
    listed = "".join(_run_row(method, run) for method in methods for run in method.runs)
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Run", "Split", "Seed", "Steps", "Training time", "Digest")
    )
    versions = {f"{name} {value}": None for run in runs for name, value in sorted(run.versions.items())}
    return (
        f'<h2>Where the numbers come from</h2><table class="facts"><tbody>{rows}</tbody></table>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{listed}</tbody></table></div>'
        + page.paragraphs([", ".join(versions) or "No versions were recorded."], "note")
    )


def _run_row(method: Method, run: Run) -> str:
    cells = (
        method.split or named_split(run),
        str(run.seed),
        str(run.config.get("n_iter", "?")),
        _time(run.seconds),
        run.digest,
    )
    body = "".join(f"<td>{html.escape(text)}</td>" for text in cells)
    return f'<tr><th scope="row">{html.escape(method.label)}</th>{body}</tr>'


def _time(seconds: float) -> str:
    return duration(seconds) if math.isfinite(seconds) else "–"
