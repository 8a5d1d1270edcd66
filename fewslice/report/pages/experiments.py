"""The report of experiments of active learning: one HTML file, and all of its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewslice.core.files import write_csv
from fewslice.report.figures import picks, style
from fewslice.report.figures.budget_curves import plot_fractions, plot_pixels
from fewslice.report.pages.page import Picture, drawing, file_picture, write_page
from fewslice.report.reading.methods import Method, by_setup, group_runs
from fewslice.report.reading.runs import Round, Run, read_experiments, split_results
from fewslice.report.tables import experiments as tables
from fewslice.report.tables import statistics as stats
from fewslice.report.tables.table import number, percent, plural

TITLE = "Active learning report"
_FEW = 3  # up to this many experiments all have their pictures in the page, of more the first seed of each method


def write_experiment_report(run_dirs: Sequence[str | Path], out_path: str | Path, *, title: str = TITLE) -> Path:
    """Writes the report of experiments, and their numbers beside it (see `results_path`).

    What is missing, unfinished or damaged is named in the report; the rest is reported all the same.

    Args:
        run_dirs: Folders of experiments of one dataset, in any order.
        out_path: The HTML file, written atomically.
        title: Its heading.

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
    palette, runs = style.colour_of(methods), [run for method in methods for run in method.runs]
    is_small = len(runs) + len(waiting) <= _FEW
    first = {method.runs[0] for method in methods}
    heads = {run: _head(method, run) for method in methods for run in method.runs}
    heads |= {run: f"{run.path.name}: {run.state}" for run in waiting}
    path = write_page(
        "experiments.html.j2",
        out_path,
        [*runs, *waiting],
        title=title,
        subtitle=tables.subtitle(methods, waiting),
        setups=[_setup(name, same, palette) for name, same in by_setup(methods).items()],
        states=tables.states(waiting),
        warnings=warnings,
        some_without_pictures=not is_small,
        experiments=[_experiment(run, head, with_pictures=is_small or run in first) for run, head in heads.items()],
    )
    write_csv(results_path(path), tables.result_rows(methods), tables.RESULT_COLUMNS)
    return path


def results_path(out_path: str | Path) -> Path:
    """Returns where the numbers of a report are written: results.csv beside report.html, else NAME.csv."""
    path = Path(out_path)
    return path.with_name("results.csv" if path.stem == "report" else f"{path.stem}.csv")


def _setup(name: str, methods: Sequence[Method], palette: Mapping[str, str]) -> dict[str, Any]:
    """Returns the comparison of the methods of one setup."""
    metric = stats.metric_of(methods)
    title, most = tables.METRIC_TITLES[metric], max(len(method.runs) for method in methods)
    caption = f"Mean {title} after each round, over the classes and volumes. "
    if most >= stats.FEWEST_FOR_INTERVAL:
        caption += "Bands: 95 % t interval of the mean over seeds, where there are at least three. "
    elif most > 1:
        caption += "Thin lines: the single seeds; fewer than three say nothing of an interval. "
    caption += "Of each round's networks, the one with the best validation Dice counts."
    of_pixels = (
        "The same against the number of annotated pixels: a strategy that prefers full slices spends more of them. "
        "Each mark is the mean over seeds of pixels and of Dice."
    )
    curves, pixels = plot_fractions(methods, metric, palette), plot_pixels(methods, metric, palette)
    return {
        "name": name,
        "metric": title,
        "remarks": tables.remarks(methods, metric),
        "curves": drawing(curves, alt="Learning curves", caption=caption),
        "has_papers_mean": stats.MEAN_OF_PAPERS in stats.columns(methods, metric),
        "common": [percent(fraction) for fraction in stats.common_budgets(methods, metric)],
        "dice": tables.dice_table(methods, metric),
        "differences": tables.difference_table(methods, metric),
        "pixels": drawing(pixels, alt="Dice by pixels", caption=of_pixels),
        "choices": _choices(methods, palette),
    }


def _choices(methods: Sequence[Method], palette: Mapping[str, str]) -> list[tuple[str, Picture]]:
    """Returns headings and figures of what was chosen."""
    unit, fraction = methods[0].runs[0].facts["budget_unit"], picks.last_common(methods)
    caption = f"Share of the chosen {unit} in each tenth of their volume, in percent, over all rounds and seeds."
    found = {
        "Where in the volumes": drawing(
            picks.plot_positions(methods), alt=f"Places of the chosen {unit}", caption=caption
        ),
        "From how many patients and volumes": drawing(
            picks.plot_distinct(methods, palette),
            alt="Patients and volumes",
            caption=f"How many different patients and volumes the annotated {unit} come from, mean over seeds.",
        ),
    }
    if fraction is not None and (len(methods) > 1 or len(methods[0].runs) > 1):
        chance = picks.chance(methods, fraction)
        caption = (
            f"{unit.capitalize()} in common at {percent(fraction)}, in percent, mean over shared seeds. The diagonal "
            "compares different seeds of one method: near 100, the seed hardly matters."
        )
        caption += f" Two random choices share {100 * chance:.1f} %." if math.isfinite(chance) else ""
        overlap = drawing(picks.plot_overlap(methods, fraction), alt="Overlap", caption=caption)
        found["How much the methods agree"] = overlap
    return [(head, drawn) for head, drawn in found.items() if drawn is not None]


def _head(method: Method, run: Run) -> str:
    metric = stats.metric_of([method])
    curve = run.values(metric)
    setup = f", {method.setup}" if method.setup else ""
    head = f"{method.label}{setup}, seed {run.seed}: {plural(len(run.rounds), 'round')}"
    if curve:
        last = max(curve)
        head += f", {tables.METRIC_TITLES[metric]} {number(curve[last])} at {percent(last)}"
    return head if run.is_finished else f"{head} (not finished)"


def _experiment(run: Run, head: str, *, with_pictures: bool) -> dict[str, Any]:
    """Returns everything about one experiment; without pictures their files are named."""
    rounds = [_round(one, with_pictures=with_pictures) for one in run.rounds]
    return {
        "head": head,
        "path": run.path,
        "unit": run.facts["budget_unit"],
        "rounds_table": tables.rounds_table(run) if run.rounds else None,
        "classes": tables.class_table(run),
        "rounds": [one for one in rounds if one["gallery"] or one["gallery_path"] or one["names"] or one["volumes"]],
    }


def _round(one: Round, *, with_pictures: bool) -> dict[str, Any]:
    budget = f", {percent(one.fraction)}" if math.isfinite(one.fraction) else ""
    caption = "What was chosen in this round, in the order of choice, with its annotation. "
    caption += "A number below a name is what the strategy found there then: `value` of query.csv."
    alt, is_shown = f"Choice of round {one.number}", one.gallery is not None and with_pictures
    return {
        "head": f"Round {one.number}{budget}",
        "gallery": file_picture(one.gallery, alt=alt, caption=caption) if is_shown else None,
        "gallery_path": None if is_shown else one.gallery,
        "names": list(one.picks["unit_id"]),
        "volumes": tables.volume_table(one),
    }
