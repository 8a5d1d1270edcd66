"""The report of experiments of active learning: one HTML file, all of its numbers as a table, a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewslice.core.files import write_csv
from fewslice.report.figures import picks, style
from fewslice.report.figures.budget_curves import plot_fractions, plot_pixels
from fewslice.report.pages.page import render_text, write_page
from fewslice.report.reading.methods import Method, by_setup, group_runs
from fewslice.report.reading.openings import openings
from fewslice.report.reading.runs import Run, read_experiments, split_results
from fewslice.report.tables import experiments as tables
from fewslice.report.tables import statistics as stats

TITLE = "Active learning report"
_FEW = 3  # up to this many experiments all have their pictures in the page, of more the first seed of each method


def write_experiment_report(run_dirs: Sequence[str | Path], out_path: str | Path, *, title: str = TITLE) -> Path:
    """Writes the report of experiments, and their numbers beside it (see `results_path`).

    What is missing, unfinished or damaged is named in the report; the rest is reported all the same.

    Args:
        run_dirs: Folders of experiments of one dataset, in any order.
        out_path: The HTML file, written atomically.

    Returns:
        The path of the report.

    Raises:
        ConfigError: none of them can be read, or they are of several datasets.
    """
    experiments, warnings = read_experiments(run_dirs)
    found, waiting = split_results(experiments)
    return write_report_of(group_runs(found), waiting, warnings, out_path, title=title)


def write_report_of(
    methods: Sequence[Method],
    waiting: Sequence[Run],
    warnings: Sequence[str],
    out_path: str | Path,
    *,
    title: str = TITLE,
) -> Path:
    """Writes the report of methods, and of experiments `waiting` for results, see `write_experiment_report`."""
    palette, runs = style.colour_of(methods), [(method, run) for method in methods for run in method.runs]
    runs += [(None, run) for run in waiting]
    is_small, first = len(runs) <= _FEW, {method.runs[0] for method in methods}
    path = write_page(
        "experiments.html.j2",
        out_path,
        [run for _, run in runs],
        **_content(methods, waiting),
        title=title,
        setups=[_setup(name, same, palette) for name, same in by_setup(methods).items()],
        warnings=warnings,
        some_without_pictures=not is_small,
        experiments=[(method, run, is_small or run in first) for method, run in runs],
    )
    write_csv(results_path(path), tables.result_rows(methods), tables.RESULT_COLUMNS)
    return path


def text_report(methods: Sequence[Method], waiting: Sequence[Run] = ()) -> str:
    """Returns the text for the terminal: per setup the means, the differences from random choice and the finding.

    Experiments `waiting` for their first result are named below.
    """
    return render_text("experiments.txt.j2", **_content(methods, waiting), setups=by_setup(methods))


def results_path(out_path: str | Path) -> Path:
    """Returns where the numbers of a report are written: results.csv beside report.html, else NAME.csv."""
    path = Path(out_path)
    return path.with_name("results.csv" if path.stem == "report" else f"{path.stem}.csv")


def _content(methods: Sequence[Method], waiting: Sequence[Run]) -> dict[str, Any]:
    runs = [*(run for method in methods for run in method.runs), *waiting]
    seeds, pools = sorted({run.seed for run in runs}), sorted({len(run.pool) for run in runs if len(run.pool)})
    content = {"tables": tables, "methods": methods, "waiting": waiting, "all_runs": runs}
    return content | {"seeds": seeds, "pools": pools, "unit": runs[0].unit, "opened": openings(runs)}


def _setup(name: str, methods: Sequence[Method], palette: Mapping[str, str]) -> dict[str, Any]:
    """Returns the figures of the methods of one setup, and what their captions need."""
    metric, fraction = stats.metric_of(methods), picks.last_common(methods)
    has_pairs = fraction is not None and (len(methods) > 1 or len(methods[0].runs) > 1)
    return {
        "name": name,
        "methods": methods,
        "metric": metric,
        "most_seeds": max(len(method.runs) for method in methods),
        "curves": plot_fractions(methods, metric, palette),
        "pixels": plot_pixels(methods, metric, palette),
        "positions": picks.plot_positions(methods),
        "distinct": picks.plot_distinct(methods, palette),
        "overlap": picks.plot_overlap(methods, fraction) if has_pairs else None,
        "fraction": fraction,
        "chance": picks.chance(methods, fraction) if has_pairs else None,
    }
