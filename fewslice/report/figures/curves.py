"""Figures of training: loss, validation Dice, rank of the embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fewslice.core.errors import FewSliceError
from fewslice.report.figures import style
from fewslice.report.reading.methods import Method

MOST_TOGETHER = 5  # beyond this many methods, each has a panel of its own
_TITLES = {"val_dice": "Validation Dice", "effective_rank": "Effective rank of the embeddings"}


def plot_curves(methods: Sequence[Method], palette: Mapping[str, str] | None = None) -> style.Figure:
    """Draws the loss beside the validation Dice (segmentation) or effective rank (pretraining), if logged.

    Seeds of one method share its colour. A dashed line marks the loss of random embeddings. Of more than five
    methods (of one kind and setup), only the validation is drawn (or the loss where there is none), a small panel each.

    Raises:
        FewSliceError: none of the runs has a training log.
    """
    chosen = palette or style.colour_of(methods)  # before any is left out: the same in every figure
    methods = [method for method in methods if method.is_logged]
    if not methods:
        raise FewSliceError("There is no training log (logs/train.csv) to draw in any of the runs.")
    runs = [run for method in methods for run in method.runs]
    second = next((name for name in _TITLES if any(run.has(name) for run in runs)), None)
    if len(methods) > MOST_TOGETHER:
        return plot_panels(methods, "val_dice" if second == "val_dice" else "loss", chosen)
    figure, grid = style.panels(2 if second else 1, 2, height=3.0)
    for axes, name in zip(grid, ("loss", second), strict=False):
        for method in methods:
            _draw(axes, method, name, chosen[method.label])
        style.calm(axes, xlabel="step", title=_TITLES.get(name, "Training loss"))
    levels = {round(float(run.curve["random_level"].dropna().iloc[-1]), 6) for run in runs if run.has("random_level")}
    for number, level in enumerate(sorted(levels)):
        label = None if number else "random embeddings"
        grid[0].axhline(level, color=style.QUIET, linestyle=(0, (5, 3)), linewidth=1.1, label=label)
    if second == "val_dice":
        _mark_kept(grid[1], methods, chosen)
    grid[0].set_ylim(bottom=0)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, **style.LEGEND)
    return figure


def plot_panels(methods: Sequence[Method], name: str, palette: Mapping[str, str]) -> style.Figure:
    """Draws "val_dice" or "loss" of the logs, a small panel per method with all others in pale grey behind it."""
    shown = [method for method in methods if any(run.has(name) for run in method.runs)]
    figure, grid = style.panels(len(shown), 4, height=2.0, sharex=True, sharey=True)
    for axes, method in zip(grid, shown, strict=True):
        for other in shown:
            _draw(axes, other, name, style.RULE, linewidth=0.8)
        _draw(axes, method, name, palette[method.label])
        if name == "val_dice":
            _mark_kept(axes, [method], palette)
        style.calm(axes)
        axes.tick_params(labelsize=8)
        style.heading(axes, method.label, 30)
    if name == "loss":
        highest = [np.nanpercentile(run.curve[name], 98) for m in shown for run in m.runs if run.has(name)]
        grid[0].set_ylim(0, 1.05 * max(highest))
    figure.supxlabel("step", fontsize=9, color=style.QUIET)
    return figure


def _draw(axes: style.Axes, method: Method, name: str, colour: str, *, linewidth: float = 1.6) -> None:
    label = style.plain(method.label)
    for run in method.runs:
        if run.has(name):
            line = run.curve[["step", name]].dropna()
            axes.plot(line["step"], line[name], color=colour, label=label, linewidth=linewidth,
                      marker="o" if len(line) == 1 else None, alpha=1.0 if len(method.runs) == 1 else 0.75)  # fmt: skip
            label = None


def _mark_kept(axes: style.Axes, methods: Sequence[Method], palette: Mapping[str, str]) -> None:
    """Puts a dot on the validation of the weights that count: the best of each run, or the last with `--keep=last`."""
    axes.set_ylim(0, 1)
    for method in methods:
        for run in method.runs:
            if run.has("val_dice"):
                dice = run.curve["val_dice"]
                keeps_last = run.config.get("keep") == "last"
                kept = run.curve.loc[dice.last_valid_index() if keeps_last else dice.idxmax()]
                axes.plot(kept["step"], kept["val_dice"], "o", color=palette[method.label], markersize=6,
                          markeredgecolor="white")  # fmt: skip
