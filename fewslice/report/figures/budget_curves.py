"""Learning curves of active-learning experiments: Dice against what was annotated."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewslice.report.figures import style
from fewslice.report.figures.curves import MOST_TOGETHER
from fewslice.report.reading.methods import Method
from fewslice.report.tables import statistics as stats
from fewslice.report.tables.experiments import METRIC_TITLES
from fewslice.report.tables.table import count, percent

_WIDE_RANGE = 12  # beyond this ratio of largest to smallest budget, the axis is logarithmic
_MARKERS = "osD^vPX*"


def plot_fractions(methods: Sequence[Method], metric: str, palette: Mapping[str, str]) -> style.Figure | None:
    """Draws mean Dice over seeds against the annotated share of the pool; None without values.

    Three seeds or more have the 95 % t interval of the mean as a band, fewer the single experiments as thin lines. More
    than five methods (of one setup) have a panel each, with the others in pale grey behind.
    """
    dice = stats.curves(methods, metric)
    share = dice.notna() * 100 * dice.columns.to_numpy(float)
    return _plot(dice, share, metric, palette, xlabel=f"annotated {methods[0].runs[0].unit}, % of the pool")


def plot_pixels(methods: Sequence[Method], metric: str, palette: Mapping[str, str]) -> style.Figure | None:
    """Draws the same against the number of annotated pixels, averaged over seeds; None if it was not counted."""
    dice = stats.curves(methods, metric)
    runs = [run for method in methods for run in method.runs]
    rows = [{one.fraction: one.annotated_pixels for one in run.rounds if one.annotated_pixels > 0} for run in runs]
    pixels = pd.DataFrame(rows, dice.index, dtype=float).reindex(columns=dice.columns)
    return _plot(dice.where(pixels.notna()), pixels.where(dice.notna()), metric, palette, xlabel="annotated pixels")


def _plot(
    dice: pd.DataFrame, places: pd.DataFrame, metric: str, palette: Mapping[str, str], *, xlabel: str
) -> style.Figure | None:
    """Draws values of (method, seed) over places, both with a column per budget."""
    dice = dice[dice.notna().any(axis=1)]
    if dice.empty:
        return None
    places = places.where(dice.notna()).loc[dice.index]
    spread, x = stats.over_seeds(dice), places.groupby(level="method", sort=False).mean()
    labels = list(spread.mean.index)
    markers = dict(zip(labels, itertools.cycle(_MARKERS), strict=False))
    is_many = len(labels) > MOST_TOGETHER
    size = {"height": 2.5, "above": 0.6} if is_many else {"height": 4.6, "above": 0}
    figure, grid = style.panels(len(labels) if is_many else 1, 3, **size, sharex=True, sharey=True)
    for axes, own in zip(grid, labels, strict=False):
        for other in labels if is_many else ():
            if other != own:
                axes.plot(x.loc[other].dropna(), spread.mean.loc[other].dropna(), color=style.RULE, linewidth=1)
        for label in [own] if is_many else labels:
            single = [(places.loc[row], dice.loc[row]) for row in dice.index if row[0] == label]
            look = {"color": palette[label], "marker": markers[label], "label": style.plain(label)}
            _draw(axes, x.loc[label], spread.mean.loc[label], spread.half_width.loc[label], single, look)
        style.calm(axes)
        if is_many:
            style.heading(axes, own)
    _scale(grid, np.unique(x.to_numpy()[x.notna()]), in_percent="%" in xlabel)
    scale = " (logarithmic)" if grid[0].get_xscale() == "log" else ""
    figure.supxlabel(style.plain(xlabel + scale), fontsize=9, color=style.QUIET)
    figure.supylabel(METRIC_TITLES[metric], fontsize=9, color=style.QUIET)
    if not is_many:
        figure.legend(loc="outside upper left", ncols=3, **style.LEGEND)
    return figure


def _draw(
    axes: style.Axes, x: pd.Series, means: pd.Series, widths: pd.Series, single: Sequence[tuple], look: dict[str, str]
) -> None:
    is_there = means.notna()
    x, means, widths = x[is_there], means[is_there], widths[is_there]
    for places, values in single if widths.isna().all() and len(single) > 1 else ():
        axes.plot(places.dropna(), values.dropna(), color=look["color"], linewidth=0.8, alpha=0.55)
    axes.plot(x, means, **look, linewidth=2, markersize=6, markeredgecolor="white")
    axes.fill_between(x, means - widths, means + widths, color=look["color"], alpha=0.14, linewidth=0)
    if widths.notna().sum() == 1:
        axes.errorbar(x, means, yerr=widths.fillna(0), color=look["color"], linestyle="none", capsize=3)


def _scale(grid: Sequence[style.Axes], places: np.ndarray, *, in_percent: bool) -> None:
    """Gives the x axis its scale and, if there are few budgets, a tick at each."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    for axes in grid:
        if places[0] > 0 and places[-1] / places[0] > _WIDE_RANGE:
            axes.set_xscale("log")
        if in_percent and len(places) <= 10:
            axes.set_xticks(places, [percent(value / 100).removesuffix(" %") for value in places])
            axes.xaxis.set_minor_locator(NullLocator())
        elif not in_percent:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
