"""What the strategies chose: where in the volumes, from how many patients, and how much they agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewslice.report.figures import style
from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run

BINS = 10
_DARKEST = 0.3  # share that has the full colour if none is larger


def picks(run: Run) -> pd.DataFrame:
    """Returns everything queried, in the order of choice, with the annotated fraction of its round."""
    tables = [one.picks.assign(fraction=one.fraction) for one in run.rounds if len(one.picks)]
    empty = pd.DataFrame(columns=["unit_id", "patient", "volume", "fraction"])
    return pd.concat(tables, ignore_index=True) if tables else empty


def position_shares(run: Run) -> np.ndarray:
    """Returns the places of all picks from 0 (first slice of a volume) to 1 (last), of those the pool knows."""
    if not len(run.pool):
        return np.empty(0)
    return run.pool["share"].reindex(picks(run)["unit_id"]).dropna().to_numpy()


def histogram(shares: np.ndarray) -> np.ndarray:
    """Returns the share of the values in each of ten equal bins from 0 to 1, NaN without values."""
    counts = np.histogram(shares, bins=BINS, range=(0, 1))[0]
    return counts / counts.sum() if counts.sum() else np.full(BINS, np.nan)


def distinct(run: Run, name: str) -> dict[float, int]:
    """Returns fraction -> number of different values of `name` ("patient" or "volume") in all queries up to it."""
    found = picks(run)
    is_new = ~found.duplicated(name)
    return is_new.groupby(found["fraction"]).sum().cumsum().to_dict()


def last_common(methods: Sequence[Method]) -> float | None:
    """Returns the largest fraction up to which every experiment has queried something, None without one."""
    sets = [{r.fraction for r in run.rounds if len(r.picks)} for method in methods for run in method.runs]
    sets = [found for found in sets if found]
    common = set.intersection(*sets) if sets else set()
    return max((f for f in common if math.isfinite(f)), default=None)


def overlap(first: Method, second: Method, fraction: float) -> float:
    """Returns which share of the smaller annotated set is also in the other, averaged over shared seeds.

    Of a method with itself: averaged over pairs of different seeds. NaN without such pairs.
    """
    if first is second:
        pairs = list(itertools.combinations(first.runs, 2))
    else:
        pairs = [(first.by_seed[seed], second.by_seed[seed]) for seed in first.shared_seeds(second)]
    sets = [(a.labelled(fraction), b.labelled(fraction)) for a, b in pairs]
    shares = [len(a & b) / min(len(a), len(b)) for a, b in sets if a and b]
    return float(np.mean(shares)) if shares else math.nan


def chance(methods: Sequence[Method], fraction: float) -> float:
    """Returns the overlap of two random choices at a budget: its share of the pool. NaN if the pool is unknown."""
    one = next((run for m in methods for run in m.runs if len(run.pool) and run.labelled(fraction)), None)
    return len(one.labelled(fraction)) / len(one.pool) if one else math.nan


def plot_positions(methods: Sequence[Method]) -> style.Figure | None:
    """Draws where in the volumes each method chose, a row per method above that of the whole pool."""
    shares = {method.label: np.concatenate([position_shares(run) for run in method.runs]) for method in methods}
    rows = {label: histogram(values) for label, values in shares.items() if len(values)}
    if not rows:
        return None
    pool = next(run.pool for method in methods for run in method.runs if len(run.pool))
    rows[f"all {methods[0].runs[0].unit} of the pool"] = histogram(pool["share"].to_numpy())
    figure = style.new_figure(9, 0.9 + 0.34 * len(rows))
    axes = figure.subplots()
    names = [f"{10 * index}–{10 * index + 10} %" for index in range(BINS)]
    _matrix(axes, np.array(list(rows.values())), [style.wrapped(label, 44) for label in rows], names)
    axes.axhline(len(rows) - 1.5, color="white", linewidth=4)
    axes.set_xlabel("place in the volume, from the first slice to the last", fontsize=9, color=style.QUIET)
    return figure


def plot_overlap(methods: Sequence[Method], fraction: float) -> style.Figure:
    """Draws the overlap of the methods' choices at a budget, a square per pair."""
    values = np.array([[overlap(a, b, fraction) for b in methods] for a in methods])
    figure = style.new_figure(9, 0.9 + 0.36 * len(methods))
    labels = [f"{index}  {style.wrapped(method.label, 44)}" for index, method in enumerate(methods, start=1)]
    _matrix(figure.subplots(), values, labels, [str(index) for index in range(1, len(methods) + 1)])
    return figure


def _matrix(axes: style.Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Draws numbers from 0 to 1 as percent in coloured cells; NaN cells stay empty."""
    from matplotlib.colors import LinearSegmentedColormap

    highest = float(np.nanmax(values, initial=_DARKEST))
    colours = LinearSegmentedColormap.from_list("quiet", ["#f3f6f9", "#1f6f9c"])
    axes.imshow(values, cmap=colours, vmin=0, vmax=highest, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            ink = "white" if value > 0.6 * highest else style.INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
    axes.set_xticks(range(len(columns)), columns, fontsize=8.5, color=style.QUIET)
    axes.set_yticks(range(len(rows)), rows, fontsize=9, color=style.INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def plot_distinct(methods: Sequence[Method], palette: Mapping[str, str]) -> style.Figure | None:
    """Draws how many patients and volumes the annotated units come from, averaged over seeds; None without picks."""
    if not any(len(one.picks) for method in methods for run in method.runs for one in run.rounds):
        return None
    figure, grid = style.panels(2, 2, height=3.2)
    for axes, name in zip(grid, ("patient", "volume"), strict=True):
        for method in methods:
            found = pd.DataFrame([distinct(run, name) for run in method.runs]).mean().sort_index()
            line = {"color": palette[method.label], "linewidth": 1.8, "marker": "o", "markersize": 4}
            axes.plot(100 * found.index.to_numpy(float), found, **line, label=style.plain(method.label))
        style.calm(axes, xlabel=f"annotated {methods[0].runs[0].unit}, % of the pool", title=f"Different {name}s")
        axes.set_ylim(bottom=0)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, **style.LEGEND)
    return figure
