"""Figures of training: loss, validation Dice, rank of the embeddings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewslice.core.errors import FewSliceError
from fewslice.report.figures import style
from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_TOGETHER = 5  # beyond this many methods, each has a panel of its own
_PANELS_PER_ROW = 4


def colour_of(methods: Sequence[Method]) -> dict[str, str]:
    """Returns label -> colour, the same in every labelled split; grey is kept for the baseline."""
    labels = {method.label: method.is_baseline for method in methods}
    others = itertools.cycle(style.METHOD_COLOURS[1:])
    return {label: style.METHOD_COLOURS[0] if is_baseline else next(others) for label, is_baseline in labels.items()}


def plot_curves(methods: Sequence[Method], palette: Mapping[str, str] | None = None) -> Figure:
    """Draws the loss beside the validation Dice (segmentation) or effective rank (pretraining), if logged.

    Seeds of one method share its colour. A dashed line marks the loss of random embeddings. Of more than five
    methods, only the validation is drawn (or the loss where there is none), a small panel each.

    Args:
        methods: Methods of one kind and labelled split, see `fewslice.report.reading.methods.by_split`.
        palette: Label -> colour; default: those of `methods`.

    Returns:
        The figure, 9 inches wide.

    Raises:
        FewSliceError: none of the runs has a training log.
    """
    chosen = palette or colour_of(methods)  # before any is left out: the same in every figure
    methods = [method for method in methods if any(run.curve for run in method.runs)]
    if not methods:
        raise FewSliceError("There is no training log (logs/train.csv) to draw in any of the runs.")
    if len(methods) > MOST_TOGETHER:
        has_validation = any(_has(run, "val_dice") for method in methods for run in method.runs)
        return plot_panels(methods, "val_dice" if has_validation else "loss", chosen)
    runs = [run for method in methods for run in method.runs]
    second = next((name for name in ("val_dice", "effective_rank") if any(_has(run, name) for run in runs)), None)
    figure = style.new_figure(9, 3.2)
    axes = figure.subplots(1, 2 if second else 1, squeeze=False)[0]
    for method in methods:
        _draw(axes[0], method, "loss", chosen[method.label])
        if second:
            _draw(axes[1], method, second, chosen[method.label])
    style.calm(axes[0], xlabel="step", title="Training loss")
    levels = sorted({round(float(value), 6) for run in runs for value in _levels(run)})
    for level in levels:
        axes[0].axhline(level, color=style.QUIET, linestyle=(0, (5, 3)), linewidth=1.1)
    if levels:
        axes[0].plot([], [], color=style.QUIET, linestyle=(0, (5, 3)), linewidth=1.1, label="random embeddings")
    titles = {"val_dice": "Validation Dice", "effective_rank": "Effective rank of the embeddings"}
    if second:
        style.calm(axes[1], xlabel="step", title=titles[second])
        if second == "val_dice":
            _mark_best(axes[1], methods, chosen)
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    look = {"frameon": False, "fontsize": 9, "labelcolor": style.INK}
    figure.legend(handles, labels, loc="outside lower center", ncols=2, **look)
    return figure


def plot_panels(methods: Sequence[Method], name: str, palette: Mapping[str, str]) -> Figure:
    """Draws one column of the logs, a small panel per method with all other methods in pale grey behind it.

    Args:
        methods: Those with a log.
        name: "val_dice" or "loss".
        palette: Label -> colour.
    """
    shown = [method for method in methods if any(_has(run, name) for run in method.runs)]
    rows = math.ceil(len(shown) / _PANELS_PER_ROW)
    figure = style.new_figure(9, 0.2 + 2.0 * rows)
    grid = figure.subplots(rows, min(len(shown), _PANELS_PER_ROW), squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(shown) - _PANELS_PER_ROW) : len(shown)]:
        axes.xaxis.set_tick_params(labelbottom=True)  # the lowest of its column
    for axes, method in zip(grid, shown, strict=False):
        for other in shown:
            _draw(axes, other, name, style.RULE, linewidth=0.8)
        _draw(axes, method, name, palette[method.label])
        if name == "val_dice":
            _mark_best(axes, [method], palette)
        style.calm(axes)
        axes.tick_params(labelsize=8)
        axes.set_title(style.wrapped(method.label, 30), loc="left", fontsize=8.5, color=style.INK)
    if name == "loss":
        highest = [np.nanpercentile(run.column(name), 98) for m in shown for run in m.runs if _has(run, name)]
        grid[0].set_ylim(0, 1.05 * max(highest))
    figure.supxlabel("step", fontsize=9, color=style.QUIET)
    return figure


def _has(run: Run, name: str) -> bool:
    return bool(np.isfinite(run.column(name)).any())


def _levels(run: Run) -> np.ndarray:
    values = run.column("random_level")
    return values[np.isfinite(values)][-1:]


def _draw(axes: Axes, method: Method, name: str, colour: str, *, linewidth: float = 1.6) -> None:
    label = style.plain(method.label)
    for run in method.runs:
        if not _has(run, name):
            continue
        values = run.column(name)
        is_there = np.isfinite(values)
        alone = is_there.sum() == 1
        axes.plot(run.column("step")[is_there], values[is_there], color=colour, label=label, linewidth=linewidth,
                  marker="o" if alone else None, alpha=1.0 if len(method.runs) == 1 else 0.75)  # fmt: skip
        label = None


def _mark_best(axes: Axes, methods: Sequence[Method], palette: Mapping[str, str]) -> None:
    """Puts a dot on the best validation of each run."""
    axes.set_ylim(0, 1)
    for method in methods:
        for run in method.runs:
            if _has(run, "val_dice"):
                best = int(np.nanargmax(run.column("val_dice")))
                x, y = run.column("step")[best], run.column("val_dice")[best]
                axes.plot(x, y, "o", color=palette[method.label], markersize=6, markeredgecolor="white")
