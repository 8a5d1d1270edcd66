"""The report of one or several runs: a single HTML file with its figures inside."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewslice.console import duration
from fewslice.errors import FewSliceError
from fewslice.files import write_text
from fewslice.report import style
from fewslice.report.contours import Fetch, plot_methods
from fewslice.report.curves import plot_curves
from fewslice.report.figures import compared
from fewslice.report.methods import Method, read_methods
from fewslice.report.page_style import CSS
from fewslice.report.pseudo_curves import plot_pseudo_labels
from fewslice.report.runs import Run
from fewslice.report.statistics import finding, structures
from fewslice.report.tables import difference_table, facts, result_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


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
    compared = segmenting or pretraining
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="sub">{html.escape(_subtitle(methods))}</p>',
        _finding(segmenting),
        _results(segmenting),
        _missing(methods),
        _contours(segmenting, fetch),
        _curves(segmenting, pretraining),
        _pseudo_labels(segmenting),
        _volumes(segmenting),
        _commands(methods),
        _provenance(methods, compared),
    ]
    write_text(out_path, _page(title, "\n".join(part for part in parts if part)))
    return Path(out_path)


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _subtitle(methods: Sequence[Method]) -> str:
    named = dict(facts(methods))
    return f"{named['Dataset']}, labelled split {named['Labelled split']}, tested on {named['Tested on']}"


def _paragraphs(texts: Sequence[str], css: str = "") -> str:
    attribute = f' class="{css}"' if css else ""
    return "".join(f"<p{attribute}>{html.escape(text)}</p>" for text in texts)


def _finding(methods: Sequence[Method]) -> str:
    return f'<section class="finding">{_paragraphs(finding(methods))}</section>'


def _results(methods: Sequence[Method]) -> str:
    if not any(method.has_scores for method in methods):
        return ""
    has_seeds = any(len(method.runs) > 1 for method in methods)
    note = "Mean over test volumes on their original grid. High is good for Dice, low for HD95 and ASSD. "
    note += "± is the standard deviation over seeds. " if has_seeds else ""
    note += "A structure that is absent in both truth and prediction counts in no mean."
    return f"<h2>Result</h2>{result_table(methods).html(css='numbers')}{_paragraphs([note], 'note')}"


def _missing(methods: Sequence[Method]) -> str:
    lines = [
        f"{method.label}, seed {run.seed}: {problem}"
        for method in methods
        for run in method.runs
        for problem in run.problems
    ]
    return _notice("What is missing", lines) if lines else ""


def _notice(head: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="missing">{html.escape(head)}<ul>{items}</ul></div>'


def _figure(figure: Figure, *, alt: str, caption: str, css: str = "", dpi: int = 150) -> str:
    source = style.data_uri(style.png_bytes(figure, dpi=dpi))
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
        return heading + _notice("No pictures", ["The images of the dataset were not at hand when this was made."])
    shown = compared(scored)
    try:
        figure = plot_methods(shown, fetch, structures(shown))
    except FewSliceError as error:
        return heading + _notice("No pictures", [str(error)])
    chosen_by = f"“{shown[-1].label}” (seed {_seed_shown(shown[-1])})"
    caption = (
        f"Chosen by the mean Dice of {chosen_by}. Above each slice: its Dice per structure. Lines are "
        "predictions, filled areas the truth."
    )
    return heading + _figure(figure, alt="Predicted and true outlines", caption=caption, css="pictures", dpi=130)


def _seed_shown(method: Method) -> int:
    return next(run.seed for run in method.runs if run.scores)


def _curves(segmenting: Sequence[Method], pretraining: Sequence[Method]) -> str:
    parts = []
    for methods, name in (
        (segmenting, "Segmentation"),
        *(((method,), method.label) for method in pretraining),
    ):
        if not any(run.curve for method in methods for run in method.runs):
            continue
        caption = "The dot marks the best validation of each run."
        if name != "Segmentation":
            caption = "Dashed: the loss of random embeddings; a loss near it means that nothing was learned."
        figure = _figure(plot_curves(methods), alt=f"Training curves: {name}", caption=caption)
        parts.append(f"<h3>{html.escape(name)}</h3>{figure}")
    return "<h2>Training</h2>" + "".join(parts) if parts else ""


def _pseudo_labels(methods: Sequence[Method]) -> str:
    drawn = plot_pseudo_labels(methods)
    if drawn is None:
        return ""
    return "<h2>Pseudo-labels</h2>" + _figure(drawn[0], alt="Pseudo-labels from round to round", caption=drawn[1])


def _volumes(methods: Sequence[Method]) -> str:
    table = difference_table(methods)
    if table is None:
        return ""
    note = "Mean Dice over structures. Δ is the difference from the baseline on the same volume and seeds."
    return f"<h2>Test volumes</h2>{table.html(css='numbers')}{_paragraphs([note], 'note')}"


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
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Run", "Seed", "Steps", "Training time", "Digest"))
    versions = {f"{name} {value}": None for run in runs for name, value in sorted(run.versions.items())}
    return (
        f'<h2>Where the numbers come from</h2><table class="facts"><tbody>{rows}</tbody></table>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{listed}</tbody></table></div>'
        + _paragraphs([", ".join(versions) or "No versions were recorded."], "note")
    )


def _run_row(method: Method, run: Run) -> str:
    cells = (str(run.seed), str(run.config.get("n_iter", "?")), _time(run.seconds), run.digest)
    body = "".join(f"<td>{html.escape(text)}</td>" for text in cells)
    return f'<tr><th scope="row">{html.escape(method.label)}</th>{body}</tr>'


def _time(seconds: float) -> str:
    return duration(seconds) if math.isfinite(seconds) else "–"
