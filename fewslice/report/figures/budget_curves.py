"""Learning curves of active-learning experiments: Dice against what was annotated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewslice.report.figures import style
from fewslice.report.reading.experiment_methods import ExperimentMethod
from fewslice.report.tables import budget_statistics as stats
from fewslice.report.tables.budget_tables import METRIC_TITLES, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TOGETHER = 5  # beyond this many methods, each has a panel of its own
_PANELS_PER_ROW = 3
_WIDE_RANGE = 12  # beyond this ratio of largest to smallest budget, the axis is logarithmic
_MARKERS = "osD^vPX*"


def palette(methods: Sequence[ExperimentMethod]) -> dict[str, str]:
    """Returns label -> colour, the same in every figure; grey is kept for random choice."""
    labels = {method.label: method.is_random for method in methods}
    others = itertools.cycle(style.METHOD_COLOURS[1:])
    return {label: style.METHOD_COLOURS[0] if is_random else next(others) for label, is_random in labels.items()}


def plot_fractions(methods: Sequence[ExperimentMethod], metric: str, colours: Mapping[str, str]) -> Figure | None:
    """Draws mean Dice over seeds against the annotated share of the slices; None without values.

    Three seeds or more have the 95 % t interval of the mean as a band, fewer the single experiments as thin lines. More
    than five methods have a panel each, with the others in pale grey behind.

    Args:
        methods: Of one setup.
        metric: "test_dice" or "val_dice".
        colours: Label -> colour.
    """
    curves = {method: _over_fractions(method, metric) for method in methods}
    return _plot(curves, metric, colours, xlabel="annotated slices, % of the pool")


def plot_pixels(methods: Sequence[ExperimentMethod], metric: str, colours: Mapping[str, str]) -> Figure | None:
    """Draws the same against the number of annotated pixels, averaged over seeds; None if it was not counted."""
    curves = {method: _over_pixels(method, metric) for method in methods}
    return _plot(curves, metric, colours, xlabel="annotated pixels")


class _Curve:
    """One method's places on the x axis, its values there per seed, and each seed's own line."""

    def __init__(self, x: Sequence[float], values: Sequence[Sequence[float]], single: Sequence[tuple]):
        self.x = np.asarray(x, float)
        self.spreads = [stats.spread(value) for value in values]
        self.single = single


def _over_fractions(method: ExperimentMethod, metric: str) -> _Curve:
    fractions = stats.budgets([method], metric)
    values = [list(stats.at(method, metric, f).values()) for f in fractions]
    single = [one.values(metric) for one in method.experiments]
    lines = [([100 * f for f in sorted(curve)], [curve[f] for f in sorted(curve)]) for curve in single]
    return _Curve([100 * f for f in fractions], values, lines)


def _over_pixels(method: ExperimentMethod, metric: str) -> _Curve:
    pixels = {
        seed: {one.fraction: one.annotated_pixels for one in experiment.rounds if one.annotated_pixels > 0}
        for seed, experiment in method.by_seed.items()
    }
    x, values = [], []
    for fraction in stats.budgets([method], metric):
        found = {s: v for s, v in stats.at(method, metric, fraction).items() if fraction in pixels[s]}
        if found:
            x.append(float(np.mean([pixels[seed][fraction] for seed in found])))
            values.append(list(found.values()))
    lines = []
    for seed, experiment in method.by_seed.items():
        curve = experiment.values(metric)
        shared = [f for f in sorted(curve) if f in pixels[seed]]
        lines.append(([pixels[seed][f] for f in shared], [curve[f] for f in shared]))
    return _Curve(x, values, lines)


def _plot(
    curves: dict[ExperimentMethod, _Curve], metric: str, colours: Mapping[str, str], *, xlabel: str
) -> Figure | None:
    curves = {method: curve for method, curve in curves.items() if len(curve.x)}
    if not curves:
        return None
    markers = dict(zip(curves, itertools.cycle(_MARKERS), strict=False))
    is_many = len(curves) > MOST_TOGETHER
    count = len(curves) if is_many else 1
    rows = math.ceil(count / _PANELS_PER_ROW)
    figure = style.new_figure(9, 0.6 + 2.5 * rows if is_many else 4.6)
    grid = figure.subplots(rows, min(count, _PANELS_PER_ROW), squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes, own in zip(grid, curves, strict=False):
        for method, curve in curves.items():
            if is_many and method is not own:
                _draw_pale(axes, curve)
        for method in [own] if is_many else curves:
            _draw(axes, method.label, curves[method], {"color": colours[method.label], "marker": markers[method]})
        style.calm(axes)
        if is_many:
            axes.set_title(style.wrapped(own.label, 34), loc="left", fontsize=9, color=style.INK)
    for axes in grid[max(0, count - _PANELS_PER_ROW) : count]:
        axes.xaxis.set_tick_params(labelbottom=True)  # the lowest of its column
    _scale(grid[:count], np.concatenate([curve.x for curve in curves.values()]), in_percent="%" in xlabel)
    scale = " (logarithmic)" if grid[0].get_xscale() == "log" else ""
    figure.supxlabel(style.plain(xlabel + scale), fontsize=9, color=style.QUIET)
    figure.supylabel(METRIC_TITLES[metric], fontsize=9, color=style.QUIET)
    if not is_many:
        look = {"frameon": False, "fontsize": 9, "labelcolor": style.INK}
        figure.legend(loc="outside upper left", ncols=3, **look)
    return figure


def _draw(axes: Axes, label: str, curve: _Curve, look: dict) -> None:
    means = [one.mean for one in curve.spreads]
    widths = np.array([one.half_width for one in curve.spreads])
    for x, y in curve.single if not np.isfinite(widths).any() and len(curve.single) > 1 else ():
        axes.plot(x, y, color=look["color"], linewidth=0.8, alpha=0.55)
    axes.plot(curve.x, means, **look, linewidth=2, markersize=6, markeredgecolor="white", label=style.plain(label))
    low, high = np.array(means) - widths, np.array(means) + widths
    axes.fill_between(curve.x, low, high, color=look["color"], alpha=0.14, linewidth=0)
    if np.isfinite(widths).sum() == 1:
        axes.errorbar(curve.x, means, yerr=np.nan_to_num(widths), color=look["color"], linestyle="none", capsize=3)


def _draw_pale(axes: Axes, curve: _Curve) -> None:
    axes.plot(curve.x, [one.mean for one in curve.spreads], color=style.RULE, linewidth=1)


def _scale(grid: Sequence[Axes], x: np.ndarray, *, in_percent: bool) -> None:
    """Gives the x axis its scale and, if there are few budgets, a tick at each."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    if x.min() > 0 and x.max() / x.min() > _WIDE_RANGE:
        for axes in grid:
            axes.set_xscale("log")
    places = np.unique(x)
    for axes in grid:
        if in_percent and len(places) <= 10:
            axes.set_xticks(places, [percent(value / 100).removesuffix(" %") for value in places])
            axes.xaxis.set_minor_locator(NullLocator())
        elif not in_percent:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
