"""Figures of training: loss, validation Dice, rank of the embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewslice.errors import FewSliceError
from fewslice.report import style
from fewslice.report.methods import Method
from fewslice.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def colours(methods: Sequence[Method]) -> list[str]:
    """Returns a colour per method; grey is kept for the baseline."""
    others = iter(style.METHOD_COLOURS[1:] * (len(methods) // 5 + 1))
    return [style.METHOD_COLOURS[0] if method.is_baseline else next(others) for method in methods]


def plot_curves(methods: Sequence[Method]) -> Figure:
    """Draws the loss beside the validation Dice (segmentation) or effective rank (pretraining), if logged.

    Seeds of one method share its colour. A dashed line marks the loss of random embeddings.

    Args:
        methods: Methods of one kind, see `fewslice.report.methods.group_runs`.

    Returns:
        The figure, 9 inches wide.

    Raises:
        FewSliceError: none of the runs has a training log.
    """
    chosen = dict(zip(methods, colours(methods), strict=True))  # before any is left out: the same in every figure
    methods = [method for method in methods if any(run.curve for run in method.runs)]
    if not methods:
        raise FewSliceError("There is no training log (logs/train.csv) to draw in any of the runs.")
    runs = [run for method in methods for run in method.runs]
    second = next((name for name in ("val_dice", "effective_rank") if any(_has(run, name) for run in runs)), None)
    figure = style.new_figure(9, 3.2)
    axes = figure.subplots(1, 2 if second else 1, squeeze=False)[0]
    for method in methods:
        _draw(axes[0], method, "loss", chosen[method])
        if second:
            _draw(axes[1], method, second, chosen[method])
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


def _has(run: Run, name: str) -> bool:
    return bool(np.isfinite(run.column(name)).any())


def _levels(run: Run) -> np.ndarray:
    values = run.column("random_level")
    return values[np.isfinite(values)][-1:]


def _draw(axes: Axes, method: Method, name: str, colour: str) -> None:
    label = style.plain(method.label)
    for run in method.runs:
        if not _has(run, name):
            continue
        values = run.column(name)
        is_there = np.isfinite(values)
        alone = is_there.sum() == 1
        axes.plot(run.column("step")[is_there], values[is_there], color=colour, label=label, linewidth=1.6,
                  marker="o" if alone else None, alpha=1.0 if len(method.runs) == 1 else 0.75)  # fmt: skip
        label = None


def _mark_best(axes: Axes, methods: Sequence[Method], colour_of: Mapping[Method, str]) -> None:
    """Puts a dot on the best validation of each run."""
    axes.set_ylim(0, 1)
    for method in methods:
        for run in method.runs:
            if _has(run, "val_dice"):
                best = int(np.nanargmax(run.column("val_dice")))
                x, y = run.column("step")[best], run.column("val_dice")[best]
                axes.plot(x, y, "o", color=colour_of[method], markersize=6, markeredgecolor="white")
