"""Figures of joint training's pseudo-labels: how good they are from round to round, where that can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewslice.report.figures import style
from fewslice.report.reading.files import read_table
from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run

_MARKERS = "osD^vP"  # one for each seed
_DASHES = (0, (4, 2.5))
_STEP = 0.05  # the Dice axis begins and ends with a multiple of it


def read_rounds(run: Run) -> pd.DataFrame | None:
    """Returns the means over the volumes of each round in logs/pseudo_labels.csv; None where there is none.

    Columns: `step` from which a round is used; `dice` with the truth, over the volumes that have one, and
    `dice_before` refinement; `changed`, the share of the pixels that refinement changed; `left_out`, whether volumes
    were left out of the training because their views disagreed.

    Raises:
        DataError: the table is damaged.
    """
    numbers = ("step", "dice", "dice_before", "changed")
    rows = read_table(run.path / "logs" / "pseudo_labels.csv", ("step",), numbers=numbers)
    if rows.empty:
        return None
    accepted = rows["accepted"] if "accepted" in rows else pd.Series("", rows.index)
    how = {"dice": "mean", "dice_before": "mean", "changed": "mean", "left_out": "any"}
    return rows.assign(left_out=accepted == "False").groupby("step").agg(how).reset_index()


def plot_pseudo_labels(methods: Sequence[Method], palette: Mapping[str, str]) -> list[tuple[str, style.Figure, bool]]:
    """Draws the quality of pseudo-labels over their rounds, a panel per method of a split and a line per seed.

    Returns:
        "dice" and the figure of the runs with a truth, "changed" and that of how much refinement changed in the others;
        and whether volumes were left out.

    Raises:
        DataError: a table of pseudo-labels is damaged.
    """
    lines = {(method.label, run.seed): read_rounds(run) for method in methods for run in method.runs}
    lines = {key: rounds for key, rounds in lines.items() if rounds is not None}
    found = []
    for name in ("dice", "changed"):
        shown = {key: rounds for key, rounds in lines.items() if rounds["dice"].notna().any() == (name == "dice")}
        if shown:
            has_left_out = any(rounds["left_out"].any() for rounds in shown.values())
            found.append((name, _plot(shown, name, palette), has_left_out))
    return found


def _plot(lines: Mapping[tuple[str, int], pd.DataFrame], name: str, palette: Mapping[str, str]) -> style.Figure:
    from matplotlib.ticker import PercentFormatter

    labels, everything = list(dict.fromkeys(label for label, _ in lines)), pd.concat(list(lines.values()))
    size = {"width": 5.6 if len(labels) == 1 else 9, "height": 2.7, "above": 0.3}
    figure, grid = style.panels(len(labels), 3, **size, sharex=True, sharey=True)
    if name == "dice":
        values = everything[["dice", "dice_before"]].stack()
        low, high = _STEP * np.floor(values.min() / _STEP - 0.1), _STEP * np.ceil(values.max() / _STEP + 0.1)
        grid[0].set_ylim(max(0, low), min(1.01, high))
    else:
        grid[0].set_ylim(0, max(0.01, 1.15 * everything["changed"].fillna(0).max()))
        grid[0].yaxis.set_major_formatter(PercentFormatter(1))
    steps = everything["step"].unique()
    if len(steps) <= 6:
        grid[0].set_xticks(steps)
    for axes, label in zip(grid, labels, strict=True):
        style.calm(axes, xlabel="step")
        style.heading(axes, label)
        for (other, seed), rounds in lines.items():
            if other == label:
                _draw(axes, rounds, name, seed, palette[label])
    titles = {"dice": "Dice of the pseudo-labels", "changed": "pixels changed by refinement"}
    figure.supylabel(titles[name], fontsize=9, color=style.QUIET)
    handles = {text: handle for axes in grid for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=6, **style.LEGEND)
    return figure


def _draw(axes: style.Axes, rounds: pd.DataFrame, name: str, seed: int, colour: str) -> None:
    look = {"color": colour, "marker": _MARKERS[seed % len(_MARKERS)]}
    if name == "dice" and not rounds["dice"].equals(rounds["dice_before"]):
        axes.plot(rounds["step"], rounds["dice_before"], **look, linewidth=1.0, linestyle=_DASHES, markersize=3.5,
                  markerfacecolor="white", label="before refinement")  # fmt: skip
    axes.plot(rounds["step"], rounds[name], **look, linewidth=1.6, markersize=5.5, markeredgecolor="white",
              label=f"seed {seed}")  # fmt: skip
