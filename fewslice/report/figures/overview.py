"""All methods at a glance, over the labelled splits: a table and a figure of mean test Dice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fewslice.report.figures import style
from fewslice.report.reading.methods import Method, by_split
from fewslice.report.tables.result_tables import MOST_COLUMNS, Table, shown_mean
from fewslice.report.tables.statistics import MEAN, cell, is_comparable, number, paired_difference, volumes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SPLIT_COLOURS = ("#8fb8d0", "#1f6f9c", "#123f5a", "#d1603d", "#4c8c6b", "#8561a8")
_MARKERS = "osD^vP"


def needs_overview(methods: Sequence[Method]) -> bool:
    """Whether there are several splits or so many methods that one wants to see them together first."""
    scored = [method for method in methods if method.has_scores]
    return bool(scored) and (len(by_split(scored)) > 1 or len(scored) > MOST_COLUMNS)


def overview_table(methods: Sequence[Method]) -> Table:
    """Returns mean Dice and its difference from the baseline, a row per method, two columns per labelled split."""
    splits = by_split(method for method in methods if method.has_scores)
    labels = list(dict.fromkeys(method.label for method in methods if method.has_scores))
    columns = [_column(labels, scored) for scored in splits.values()]
    rows = tuple((label, *(text for column in columns for text in column[0][i])) for i, label in enumerate(labels))
    header = ("Mean Dice", *(text for name in splits for text in (name, "Δ baseline")))
    best = {(column[1], 2 * index + 1) for index, column in enumerate(columns) if column[1] is not None}
    return Table(header, rows, frozenset(best))


def _column(labels: Sequence[str], scored: Sequence[Method]) -> tuple[list[tuple[str, str]], int | None]:
    """Returns a pair of texts per label, and the row with the highest mean."""
    baselines = [method for method in scored if method.is_baseline]
    found, values = {}, {}
    for method in scored:
        values[method.label] = cell(method, "dice", MEAN).value
        difference = ""
        if len(baselines) == 1 and not method.is_baseline and is_comparable(method, baselines[0]):
            difference = number(paired_difference(method, baselines[0]).mean, signed=True)
        found[method.label] = (shown_mean(method, "dice", MEAN), difference)
    finite = {label: value for label, value in values.items() if math.isfinite(value)}
    best = labels.index(max(finite, key=finite.get)) if len(finite) > 1 else None
    return [found.get(label, ("", "")) for label in labels], best


def plot_overview(methods: Sequence[Method]) -> Figure:
    """Draws the mean Dice of every method, a row each: large marks are means over seeds, small ones single seeds.

    Args:
        methods: Tested methods of one or more labelled splits, each of which has its own colour and mark.
    """
    splits = by_split(method for method in methods if method.has_scores)
    labels = list(dict.fromkeys(method.label for method in methods if method.has_scores))
    figure = style.new_figure(9, 1.1 + 0.36 * len(labels))
    axes = figure.subplots()
    for row in range(len(labels)):
        axes.axhline(row, color=style.RULE, linewidth=0.7, zorder=0)
    spread = 0.13
    for index, (name, scored) in enumerate(splits.items()):
        offset = spread * (index - (len(splits) - 1) / 2) * (len(splits) > 1)
        look = {"color": _SPLIT_COLOURS[(index + (len(splits) == 1)) % len(_SPLIT_COLOURS)]}
        look |= {"marker": _MARKERS[index % len(_MARKERS)], "linestyle": "none"}
        _draw_split(axes, scored, {label: row + offset for row, label in enumerate(labels)}, look)
        axes.plot([], [], markersize=8, label=style.plain(name), **look)
    style.calm(axes, xlabel="mean Dice on the test volumes")
    axes.grid(False)
    axes.grid(True, axis="x", color=style.RULE, linewidth=0.7)
    axes.set_yticks(range(len(labels)), [style.wrapped(label, 52) for label in labels], fontsize=9, color=style.INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    figure.legend(loc="outside lower right", ncols=len(splits), frameon=False, fontsize=9, labelcolor=style.INK)
    return figure


def _draw_split(axes: Axes, scored: Sequence[Method], place: dict[str, float], look: dict) -> None:
    for method in scored:
        mean, row = cell(method, "dice", MEAN).value, place[method.label]
        seeds = [_seed_mean(run) for run in method.runs if run.scores]
        axes.plot(seeds, [row] * len(seeds), **look, markersize=4, alpha=0.55, markeredgewidth=0)
        axes.plot([mean], [row], **look, markersize=8, markeredgecolor="white")
        if method.is_baseline and math.isfinite(mean):
            axes.axvline(mean, color=look["color"], linewidth=1, linestyle=(0, (4, 3)), zorder=0)


def _seed_mean(run) -> float:
    values = [value for value in volumes(run, "dice", MEAN).values() if math.isfinite(value)]
    return sum(values) / len(values) if values else float("nan")
