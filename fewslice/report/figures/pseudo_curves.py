"""Figure of joint training's pseudo-labels: how good they are from round to round, where that can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fewslice.core.errors import DataError
from fewslice.report.figures import style
from fewslice.report.reading.files import REMEDY, read_table
from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"  # one for each seed
_DASHES = (0, (4, 2.5))
_MOST_TOGETHER = 3  # lines in one panel
_STEP = 0.05  # the Dice axis begins and ends with a multiple of it
_NUMBERS = ("step", "dice", "dice_before", "changed")


@dataclass(frozen=True, eq=False)
class _Line:
    """Means over the volumes of each round: `step` from which it is used, `dice`, `dice_before`, `changed`."""

    label: str
    seed: int
    colour: str
    rounds: pd.DataFrame

    @property
    def has_truth(self) -> bool:
        return bool(self.rounds["dice"].notna().any())

    @property
    def is_refined(self) -> bool:
        return not self.rounds["dice"].equals(self.rounds["dice_before"])


def read_rounds(run: Run) -> pd.DataFrame | None:
    """Returns the means over the volumes of each round in logs/pseudo_labels.csv; None where there is none.

    Columns: `step` from which a round is used; `dice` with the truth, over the volumes that have one, and
    `dice_before` refinement; `changed`, the share of the pixels that refinement changed; `left_out`, whether volumes
    were left out of the training because their views disagreed.

    Raises:
        DataError: the table is damaged.
    """
    path = run.path / "logs" / "pseudo_labels.csv"
    rows = read_table(path, ("step",), numbers=_NUMBERS)
    if rows.empty:
        return None
    if rows["step"].isna().any():
        raise DataError(path, expected="a step in every line", found="empty cells", remedy=REMEDY)
    accepted = rows["accepted"] if "accepted" in rows else pd.Series("", rows.index)
    return rows.assign(left_out=accepted == "False").groupby("step").agg(
        {"dice": "mean", "dice_before": "mean", "changed": "mean", "left_out": "any"}
    ).reset_index()  # fmt: skip


def plot_pseudo_labels(
    methods: Sequence[Method], palette: Mapping[str, str] | None = None
) -> tuple[Figure, str] | None:
    """Draws the quality of pseudo-labels over their rounds, a line per seed in the colour of its method.

    More than three runs of several methods have a panel per method, all with the same axes.

    Args:
        methods: The segmenting methods of one labelled split, those without pseudo-labels only take their colour.
        palette: Label -> colour; default: those of `methods`.

    Returns:
        The figure and its caption; None if no run has pseudo-labels. Without truth the figure shows how much
        refinement changed instead of the Dice.

    Raises:
        DataError: a table of pseudo-labels is damaged.
    """
    palette = palette or style.colour_of(methods)
    lines = [
        _Line(method.label, run.seed, palette[method.label], rounds)
        for method in methods
        for run in method.runs
        if (rounds := read_rounds(run)) is not None
    ]
    if not lines:
        return None
    kinds = [
        (draw, chosen, text)
        for draw, has_truth, text in ((_draw_dice, True, _DICE), (_draw_changed, False, _CHANGED))
        if (chosen := [line for line in lines if line.has_truth == has_truth])
    ]
    labels = list(dict.fromkeys(line.label for line in lines))
    is_split = len(lines) > _MOST_TOGETHER and len(labels) > 1
    panels = [(draw, part) for draw, chosen, _ in kinds for part in (_by_label(chosen) if is_split else [chosen])]
    entries = _entries(lines)
    if is_split:
        entries = {name: entry for name, entry in entries.items() if name not in map(style.plain, labels)}
    figure = _panels(panels, entries, is_split=is_split)
    left_out = " Volumes that were left out count too." if any(line.rounds["left_out"].any() for line in lines) else ""
    return figure, f"{' '.join(text for *_, text in kinds)}{left_out} {_NOTE}"


def _by_label(lines: Sequence[_Line]) -> list[list[_Line]]:
    labels = dict.fromkeys(line.label for line in lines)
    return [[line for line in lines if line.label == label] for label in labels]


def _panels(panels: Sequence[tuple], entries: Mapping[str, Any], *, is_split: bool) -> Figure:
    """Draws the panels, three in a row, and the legend below them."""
    size = {"width": 5.6 if len(panels) == 1 else 9, "height": 2.5 if is_split else 2.8, "above": 0.2 * len(entries)}
    figure, grid = style.panels(len(panels), 2 if len(panels) == 4 else 3, **size)
    for axes, (draw, chosen) in zip(grid, panels, strict=True):
        draw(axes, chosen)
        steps = np.unique(np.concatenate([line.rounds["step"] for line in chosen]))
        if len(steps) <= 6:
            axes.set_xticks(steps)
        if is_split:
            style.heading(axes, chosen[0].label)
            quantity = "" if draw is _draw_dice else "\npixels changed"
            axes.set_title(axes.get_title(loc="left") + quantity, loc="left")
    if is_split:
        _share_limits(grid, panels)
    _legend(figure, entries)
    return figure


def _share_limits(grid: Sequence[Axes], panels: Sequence[tuple]) -> None:
    """Gives panels that show the same quantity the same axes."""
    for draw in {draw for draw, _ in panels}:
        same = [axes for axes, (other, _) in zip(grid, panels, strict=True) if other is draw]
        for read, write in (("get_ylim", "set_ylim"), ("get_xlim", "set_xlim")):
            limits = [getattr(axes, read)() for axes in same]
            for axes in same:
                getattr(axes, write)(min(low for low, _ in limits), max(high for _, high in limits))


_DICE = "Mean Dice of the pseudo-labels with the truth, at the step from which each round is used."
_CHANGED = "Without a truth to compare with: share of the pixels that refinement changed."
_NOTE = "For information only; nothing is trained on or chosen by it."


def _draw_dice(axes: Axes, lines: Sequence[_Line]) -> None:
    for line in lines:
        if line.is_refined:
            _plot(axes, line, "dice_before", linewidth=1.0, linestyle=_DASHES, markersize=3.5, is_hollow=True)
        _plot(axes, line, "dice")
    values = pd.concat([line.rounds[["dice", "dice_before"]] for line in lines]).stack()
    low, high = values.min(), values.max()
    axes.set_ylim(max(0, _STEP * np.floor(low / _STEP - 0.1)), min(1.01, _STEP * np.ceil(high / _STEP + 0.1)))
    style.calm(axes, xlabel="step", title="Dice of the pseudo-labels")


def _draw_changed(axes: Axes, lines: Sequence[_Line]) -> None:
    from matplotlib.ticker import PercentFormatter

    for line in lines:
        _plot(axes, line, "changed")
    highest = max(line.rounds["changed"].fillna(0).max() for line in lines)
    axes.set_ylim(0, max(0.01, 1.15 * highest))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    style.calm(axes, xlabel="step", title="Pixels changed by refinement")


def _plot(axes: Axes, line: _Line, name: str, *, is_hollow: bool = False, **look: Any) -> None:
    shown = line.rounds[["step", name]].dropna()
    look = {"linewidth": 1.6, "markersize": 5.5, **look}
    face = "white" if is_hollow else line.colour
    edge = line.colour if is_hollow else "white"
    axes.plot(shown["step"], shown[name], color=line.colour, marker=_marker(line.seed), markerfacecolor=face,
              markeredgecolor=edge, **look)  # fmt: skip


def _marker(seed: int) -> str:
    return _MARKERS[seed % len(_MARKERS)]


def _legend(figure: Figure, entries: Mapping[str, Any]) -> None:
    from matplotlib.legend_handler import HandlerTuple

    look = {**style.LEGEND, "handlelength": 3, "handler_map": {tuple: HandlerTuple(ndivide=None, pad=0.4)}}
    figure.legend(list(entries.values()), list(entries), loc="outside lower left", **look)


def _entries(lines: Sequence[_Line]) -> dict[str, Any]:
    """Returns what the legend says of colours (methods), markers (seeds, if several) and dashes."""
    from matplotlib.lines import Line2D

    entries = {style.plain(line.label): Line2D([], [], color=line.colour, linewidth=1.6) for line in lines}
    seeds = sorted({line.seed for line in lines})
    if len(seeds) > 1:
        look = {"color": style.QUIET, "linestyle": "none", "markersize": 5.5}
        markers = tuple(Line2D([], [], marker=_marker(seed), **look) for seed in seeds)
        entries[f"seeds {', '.join(map(str, seeds))}"] = markers
    if any(line.has_truth and line.is_refined for line in lines):
        entries["before refinement"] = Line2D([], [], color=style.QUIET, linewidth=1.0, linestyle=_DASHES)
    return entries
