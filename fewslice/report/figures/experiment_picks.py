"""What the strategies bought: where in the volumes, from how many patients, and how much they agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewslice.report.figures import style
from fewslice.report.reading.experiment_methods import ExperimentMethod
from fewslice.report.reading.experiment_rounds import Pick
from fewslice.report.reading.experiments import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 10
_DARKEST = 0.3  # share that has the full colour if none is larger
POOL = "all slices of the pool"


def picks(experiment: Experiment) -> list[Pick]:
    """Returns everything bought, in the order of choice."""
    return [pick for one in experiment.rounds for pick in one.picks]


def position_shares(experiment: Experiment) -> np.ndarray:
    """Returns the places of all picks from 0 (first slice of a volume) to 1 (last), of those the pool knows."""
    known = [experiment.pool[pick.unit_id].share for pick in picks(experiment) if pick.unit_id in experiment.pool]
    return np.asarray([share for share in known if math.isfinite(share)], float)


def histogram(shares: np.ndarray) -> np.ndarray:
    """Returns the share of the values in each of ten equal bins from 0 to 1, NaN without values."""
    counts = np.histogram(shares, bins=BINS, range=(0, 1))[0]
    return counts / counts.sum() if counts.sum() else np.full(BINS, np.nan)


def distinct(experiment: Experiment, name: str) -> dict[float, int]:
    """Returns fraction -> number of different patients or volumes among all that was bought up to it.

    Args:
        experiment: The experiment.
        name: "patient" or "volume".
    """
    found, seen = {}, set()
    for one in experiment.rounds:
        seen |= {getattr(pick, name) for pick in one.picks}
        if one.picks and math.isfinite(one.fraction):
            found[one.fraction] = len(seen)
    return found


def last_common(methods: Sequence[ExperimentMethod]) -> float | None:
    """Returns the largest fraction up to which every experiment has bought something, None without one."""
    sets = [{r.fraction for r in one.rounds if r.picks} for method in methods for one in method.experiments]
    sets = [found for found in sets if found]
    common = set.intersection(*sets) if sets else set()
    return max((f for f in common if math.isfinite(f)), default=None)


def overlap(first: ExperimentMethod, second: ExperimentMethod, fraction: float) -> float:
    """Returns which share of the smaller annotated set is also in the other, averaged over shared seeds.

    Of a method with itself: averaged over pairs of different seeds. NaN without such pairs.
    """
    if first is second:
        pairs = list(itertools.combinations(first.experiments, 2))
    else:
        pairs = [(first.by_seed[s], second.by_seed[s]) for s in sorted(first.by_seed.keys() & second.by_seed.keys())]
    sets = [(a.labelled(fraction), b.labelled(fraction)) for a, b in pairs]
    shares = [len(a & b) / min(len(a), len(b)) for a, b in sets if a and b]
    return float(np.mean(shares)) if shares else math.nan


def chance(methods: Sequence[ExperimentMethod], fraction: float) -> float:
    """Returns the overlap of two random choices at a budget: its share of the pool. NaN if the pool is unknown."""
    one = next((e for m in methods for e in m.experiments if e.pool and e.labelled(fraction)), None)
    return len(one.labelled(fraction)) / len(one.pool) if one else math.nan


def plot_positions(methods: Sequence[ExperimentMethod]) -> Figure | None:
    """Draws where in the volumes each method bought, a row per method above that of the whole pool."""
    rows = {}
    for method in methods:
        shares = np.concatenate([position_shares(one) for one in method.experiments])
        if len(shares):
            rows[method.label] = histogram(shares)
    pool = next((one.pool for method in methods for one in method.experiments if one.pool), {})
    if not rows:
        return None
    rows[POOL] = histogram(np.asarray([unit.share for unit in pool.values()]))
    figure = style.new_figure(9, 0.9 + 0.34 * len(rows))
    axes = figure.subplots()
    names = [f"{10 * index}–{10 * index + 10} %" for index in range(BINS)]
    _matrix(axes, np.array(list(rows.values())), [style.wrapped(label, 44) for label in rows], names)
    axes.axhline(len(rows) - 1.5, color="white", linewidth=4)
    axes.set_xlabel("place in the volume, from the first slice to the last", fontsize=9, color=style.QUIET)
    return figure


def plot_overlap(methods: Sequence[ExperimentMethod], fraction: float) -> Figure:
    """Draws the overlap of the methods' choices at a budget, a square per pair."""
    values = np.array([[overlap(a, b, fraction) for b in methods] for a in methods])
    figure = style.new_figure(9, 0.9 + 0.36 * len(methods))
    axes = figure.subplots()
    labels = [f"{index}  {style.wrapped(method.label, 44)}" for index, method in enumerate(methods, start=1)]
    _matrix(axes, values, labels, [str(index) for index in range(1, len(methods) + 1)])
    return figure


def _matrix(axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draws numbers from 0 to 1 as percent in coloured cells; NaN cells stay empty."""
    from matplotlib.colors import LinearSegmentedColormap

    highest = max(float(np.nanmax(values)) if np.isfinite(values).any() else 0.0, _DARKEST)
    colours = LinearSegmentedColormap.from_list("quiet", ["#f3f6f9", "#1f6f9c"])
    axes.imshow(values, cmap=colours, vmin=0, vmax=highest, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            ink = "white" if value > 0.6 * highest else style.INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
    axes.set_xticks(range(len(columns)), columns, fontsize=8.5, color=style.QUIET)
    axes.set_yticks(range(len(rows)), rows, fontsize=9, color=style.INK)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def plot_distinct(methods: Sequence[ExperimentMethod], colours: Mapping[str, str]) -> Figure | None:
    """Draws how many patients and volumes the annotated slices come from, averaged over seeds; None without picks."""
    if not any(picks(one) for method in methods for one in method.experiments):
        return None
    figure = style.new_figure(9, 3.4)
    grid = figure.subplots(1, 2)
    for axes, name in zip(grid, ("patient", "volume"), strict=True):
        for method in methods:
            found = [distinct(one, name) for one in method.experiments]
            x = sorted(set().union(*found))
            y = [np.mean([one[f] for one in found if f in one]) for f in x]
            line = {"color": colours[method.label], "linewidth": 1.8, "marker": "o", "markersize": 4}
            axes.plot([100 * f for f in x], y, **line, label=style.plain(method.label))
        style.calm(axes, xlabel="annotated slices, % of the pool", title=f"Different {name}s")
        axes.set_ylim(bottom=0)
    handles, labels = grid[0].get_legend_handles_labels()
    look = {"frameon": False, "fontsize": 9, "labelcolor": style.INK}
    figure.legend(handles, labels, loc="outside lower center", ncols=3, **look)
    return figure
