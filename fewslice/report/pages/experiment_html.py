"""The report of one or many active-learning experiments: one HTML file, and all of its numbers as a table."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewslice.core.files import write_csv, write_text
from fewslice.report.figures import experiment_picks as bought
from fewslice.report.figures.budget_curves import palette, plot_fractions, plot_pixels
from fewslice.report.pages import page
from fewslice.report.pages.experiment_details import RESULT_COLUMNS, experiment_html, result_rows
from fewslice.report.reading.experiment_methods import ExperimentMethod, by_setup, group_experiments
from fewslice.report.reading.experiments import Experiment, read_experiments, split_results
from fewslice.report.tables import budget_statistics as stats
from fewslice.report.tables import budget_tables as tables
from fewslice.report.tables.statistics import number

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
    return write_report_of(group_experiments(found), waiting, warnings, out_path, title=title)


def write_report_of(
    methods: Sequence[ExperimentMethod],
    waiting: Sequence[Experiment],
    warnings: Sequence[str],
    out_path: str | Path,
    *,
    title: str = TITLE,
) -> Path:
    """Writes the report of methods, and of experiments `waiting` for results, see `write_experiment_report`."""
    colours, setups = palette(methods), by_setup(methods)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="sub">{html.escape(_subtitle(methods, waiting))}</p>',
        *(_setup(name, same, colours, is_only=len(setups) == 1) for name, same in setups.items()),
        page.notice("No results yet", _states(waiting)) if waiting else "",
        page.notice("What is missing", warnings) if warnings else "",
        _details(methods, waiting),
        _provenance([*_experiments(methods), *waiting]),
    ]
    write_text(out_path, page.page(title, "\n".join(part for part in parts if part)))
    write_csv(results_path(out_path), result_rows(methods), RESULT_COLUMNS)
    return Path(out_path)


def results_path(out_path: str | Path) -> Path:
    """Returns where the numbers of a report are written: results.csv beside report.html, else NAME.csv."""
    path = Path(out_path)
    return path.with_name("results.csv" if path.stem == "report" else f"{path.stem}.csv")


def text_report(methods: Sequence[ExperimentMethod], waiting: Sequence[Experiment] = ()) -> str:
    """Returns what the terminal shows: per setup the means, the differences from random choice and the finding.

    Experiments `waiting` for their first result are named below.
    """
    parts, setups = [_subtitle(methods, waiting)], by_setup(methods)
    for name, same in setups.items():
        metric = stats.metric_of(same)
        found = [tables.dice_table(same, metric), tables.difference_table(same, metric)]
        if len(setups) > 1:
            parts.append(f"{name or 'Other settings'}\n{'=' * len(name or 'Other settings')}")
        parts += [tables.METRIC_TITLES[metric], *(table.text() for table in found if table is not None)]
        parts.append("\n".join(tables.finding(same, metric)))
    parts += ["\n".join(["No results yet:", *(f"  {line}" for line in _states(waiting))])] if waiting else []
    return "\n\n".join(parts)


def _experiments(methods: Sequence[ExperimentMethod]) -> list[Experiment]:
    return [one for method in methods for one in method.experiments]


def _states(waiting: Sequence[Experiment]) -> list[str]:
    return [f"{one.path.name}: {one.state}" for one in waiting]


def _subtitle(methods: Sequence[ExperimentMethod], waiting: Sequence[Experiment]) -> str:
    experiments = [*_experiments(methods), *waiting]
    seeds = sorted({one.seed for one in experiments})
    pool = {len(one.pool) for one in experiments if one.pool}
    parts = [
        f"Dataset {experiments[0].dataset}",
        f"{len(methods)} method{'s' * (len(methods) > 1)}" if methods else "",
        f"{len(experiments)} experiment{'s' * (len(experiments) > 1)}"
        + (f" ({len(waiting)} without results yet)" if waiting else ""),
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
        f"a pool of {' or '.join(map(str, sorted(pool)))} slices" if pool else "",
    ]
    return ", ".join(part for part in parts if part)


def _setup(name: str, methods: Sequence[ExperimentMethod], colours: Mapping[str, str], *, is_only: bool) -> str:
    """Returns the comparison of the methods of one setup."""
    metric = stats.metric_of(methods)
    parts = [
        "" if is_only else f'<h2 class="split">{html.escape(name or "Other settings")}</h2>',
        f'<section class="finding">{page.paragraphs(tables.finding(methods, metric))}</section>',
        _curves(methods, metric, colours),
        _tables(methods, metric),
        _pixels(methods, metric, colours),
        _bought(methods, colours),
    ]
    return "\n".join(part for part in parts if part)


def _curves(methods: Sequence[ExperimentMethod], metric: str, colours: Mapping[str, str]) -> str:
    drawn = plot_fractions(methods, metric, colours)
    if drawn is None:
        return ""
    most = max(len(method.experiments) for method in methods)
    caption = f"Mean {tables.METRIC_TITLES[metric]} after each round, over the classes and volumes. "
    if most >= stats.FEWEST_FOR_INTERVAL:
        caption += "Bands: 95 % t interval of the mean over seeds, where there are at least three. "
    elif most > 1:
        caption += "Thin lines: the single seeds; fewer than three say nothing of an interval. "
    caption += "Of each round's networks, the one with the best validation Dice counts."
    return f"<h2>Dice against the budget</h2>{page.figure(drawn, alt='Learning curves', caption=caption)}"


def _tables(methods: Sequence[ExperimentMethod], metric: str) -> str:
    common = stats.common_budgets(methods, metric)
    note = f"Mean {tables.METRIC_TITLES[metric]} ± sample standard deviation over seeds; the best mean is bold. "
    if stats.has_papers_mean(stats.budgets(methods, metric)):
        note += "“mean 2–5 %” is the mean of these four budgets, as in the published tables. "
    if len(common) > 1:
        note += (
            f"“area” is the area under the curve of each seed from {tables.percent(common[0])} to "
            f"{tables.percent(common[-1])} (trapezoids over {len(common)} budgets that all methods reached), divided "
            "by that range: the mean Dice over the budget. Wide steps weigh more than narrow ones. "
        )
    note += "A number in brackets: so many seeds only."
    body = tables.dice_table(methods, metric).html(css="numbers volumes many")
    found = tables.difference_table(methods, metric)
    if found is not None:
        body += found.html(css="numbers volumes many") + page.paragraphs(
            [
                "Difference from random choice with the same seed, averaged over the seeds that both have, ± half of "
                "the 95 % t interval (three shared seeds or more). Bold: the interval excludes 0; of twenty such "
                "numbers, one does so by chance."
            ],
            "note",
        )
    return f"<h2>Tables</h2>{page.paragraphs([note], 'note')}{body}"


def _pixels(methods: Sequence[ExperimentMethod], metric: str, colours: Mapping[str, str]) -> str:
    drawn = plot_pixels(methods, metric, colours)
    if drawn is None:
        return ""
    caption = (
        "The same against the number of annotated pixels: a strategy that prefers full slices spends more of them. "
        "Each mark is the mean over seeds of pixels and of Dice."
    )
    return f"<h2>Dice against annotated pixels</h2>{page.figure(drawn, alt='Dice by pixels', caption=caption)}"


def _bought(methods: Sequence[ExperimentMethod], colours: Mapping[str, str]) -> str:
    parts = []
    positions, distinct = bought.plot_positions(methods), bought.plot_distinct(methods, colours)
    fraction = bought.last_common(methods)
    if positions is not None:
        caption = "Share of the bought slices in each tenth of their volume, in percent, over all rounds and seeds."
        parts.append("<h3>Where in the volumes</h3>")
        parts.append(page.figure(positions, alt="Places of the bought slices", caption=caption))
    if distinct is not None:
        caption = "How many different patients and volumes the annotated slices come from, mean over seeds."
        parts.append("<h3>From how many patients and volumes</h3>")
        parts.append(page.figure(distinct, alt="Patients and volumes", caption=caption))
    if fraction is not None and (len(methods) > 1 or len(methods[0].experiments) > 1):
        chance = bought.chance(methods, fraction)
        caption = (
            f"Slices in common at {tables.percent(fraction)}, in percent, mean over shared seeds. The diagonal "
            "compares different seeds of one method: near 100, the seed hardly matters."
        )
        caption += f" Two random choices share {100 * chance:.1f} %." if math.isfinite(chance) else ""
        parts.append("<h3>How much the methods agree</h3>")
        parts.append(page.figure(bought.plot_overlap(methods, fraction), alt="Overlap", caption=caption))
    return f"<h2>What was bought</h2>{''.join(parts)}" if parts else ""


def _details(methods: Sequence[ExperimentMethod], waiting: Sequence[Experiment]) -> str:
    count = len(_experiments(methods)) + len(waiting)
    parts = []
    for method in methods:
        for index, one in enumerate(method.experiments):
            metric = stats.metric_of([method])
            curve = one.values(metric)
            last = max(curve, default=math.nan)
            head = f"{method.label}{f', {method.setup}' if method.setup else ''}, seed {one.seed}: {len(one.rounds)} "
            head += f"round{'s' * (len(one.rounds) != 1)}"
            head += f", {tables.METRIC_TITLES[metric]} {number(curve[last])} at {tables.percent(last)}" if curve else ""
            head += "" if one.is_finished else " (not finished)"
            parts.append(page.folded(head, experiment_html(one, with_pictures=count <= _FEW or index == 0)))
    for one in waiting:
        parts.append(page.folded(f"{one.path.name}: {one.state}", experiment_html(one, with_pictures=count <= _FEW)))
    note = "Rounds, classes, volumes and pictures of what was bought; “member” is the network that counts. "
    note += "" if count <= _FEW else "Pictures stand in the page for the first seed of each method."
    return f"<h2>Each experiment in full</h2>{page.paragraphs([note], 'note')}{''.join(parts)}"


def _provenance(experiments: Sequence[Experiment]) -> str:
    commands = list(dict.fromkeys(one.command for one in experiments if one.command))
    versions = dict.fromkeys(f"{k} {v}" for one in experiments for k, v in sorted(one.versions.items()))
    done = f"<h2>What was done</h2><pre>{html.escape(chr(10).join(commands))}</pre>" if commands else ""
    return done + page.paragraphs([", ".join(versions) or "No versions were recorded."], "note")
