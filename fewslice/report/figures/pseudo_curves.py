"""Figure of joint training's pseudo-labels: how good they are from round to round, where that can be known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fewslice.core.errors import DataError
from fewslice.report.figures import style
from fewslice.report.figures.curves import colour_of
from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run, read_table, to_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"  # one for each seed
_DASHES = (0, (4, 2.5))
_MOST_TOGETHER = 3  # lines in one panel
_STEP = 0.05  # the Dice axis begins and ends with a multiple of it


@dataclass(frozen=True, eq=False)
class Rounds:
    """Means over the volumes of each round of pseudo-labels, (rounds,) float64 each.

    Attributes:
        step: Training step from which a round is used.
        dice: Mean Dice with the truth over the volumes that have one; NaN where none has.
        dice_before: The same before refinement.
        changed: Share of the pixels that refinement changed.
        has_left_out: Whether volumes were left out of the training because their views disagreed.
    """

    step: np.ndarray
    dice: np.ndarray
    dice_before: np.ndarray
    changed: np.ndarray
    has_left_out: bool

    @property
    def has_truth(self) -> bool:
        """Whether any volume could be compared with the truth."""
        return bool(np.isfinite(self.dice).any())


@dataclass(frozen=True, eq=False)
class _Line:
    label: str
    seed: int
    colour: str
    rounds: Rounds


def read_rounds(run: Run) -> Rounds | None:
    """Reads logs/pseudo_labels.csv of a run; None where there is none.

    Raises:
        DataError: the table is damaged.
    """
    path = run.path / "logs" / "pseudo_labels.csv"
    rows = read_table(path)
    if not rows:
        return None
    columns = {
        name: np.array([to_number(path, line, row.get(name)) for line, row in enumerate(rows, start=2)])
        for name in ("step", "dice", "dice_before", "changed")
    }
    if not np.isfinite(columns["step"]).all():
        raise DataError(
            path,
            expected="a column `step` without gaps",
            found=", ".join(name for name in rows[0] if name),
            remedy="The file is damaged. Repeat the command that wrote it.",
        )
    steps = np.unique(columns["step"])

    def means(name: str) -> np.ndarray:
        return np.array([_mean(columns[name][columns["step"] == step]) for step in steps])

    has_left_out = any(row.get("accepted") == "False" for row in rows)
    return Rounds(steps, means("dice"), means("dice_before"), means("changed"), has_left_out)


def plot_pseudo_labels(
    methods: Sequence[Method], palette: Mapping[str, str] | None = None
) -> tuple[Figure, str] | None:
    """Draws the quality of pseudo-labels over their rounds, a line per seed in the colour of its method.

    More than three runs of several methods have a panel per method, all with the same axes.

    Args:
        methods: The segmenting methods of one labelled split, see `fewslice.report.reading.methods.by_split`; those
            without pseudo-labels only take their colour.
        palette: Label -> colour; default: those of `methods`.

    Returns:
        The figure and its caption; None if no run has pseudo-labels. Without truth the figure shows how much
        refinement changed instead of the Dice.

    Raises:
        DataError: a table of pseudo-labels is damaged.
    """
    palette = palette or colour_of(methods)
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
        if (chosen := [line for line in lines if line.rounds.has_truth == has_truth])
    ]
    labels = list(dict.fromkeys(line.label for line in lines))
    is_split = len(lines) > _MOST_TOGETHER and len(labels) > 1
    panels = [(draw, part) for draw, chosen, _ in kinds for part in (_by_label(chosen) if is_split else [chosen])]
    entries = _entries(lines)
    if is_split:
        entries = {name: entry for name, entry in entries.items() if name not in map(style.plain, labels)}
    figure = _panels(panels, entries, is_split=is_split)
    left_out = " Volumes that were left out count too." if any(line.rounds.has_left_out for line in lines) else ""
    return figure, f"{' '.join(text for *_, text in kinds)}{left_out} {_NOTE}"


def _by_label(lines: Sequence[_Line]) -> list[list[_Line]]:
    labels = dict.fromkeys(line.label for line in lines)
    return [[line for line in lines if line.label == label] for label in labels]


def _panels(panels: Sequence[tuple], entries: Mapping[str, Any], *, is_split: bool) -> Figure:
    """Draws the panels, three in a row, and the legend below them."""
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = 5.6 if len(panels) == 1 else 9
    figure = style.new_figure(width, (2.5 if is_split else 2.8) * rows + 0.2 * len(entries))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (draw, chosen) in zip(grid, panels, strict=False):
        draw(axes, chosen)
        _mark_steps(axes, chosen)
        if is_split:
            quantity = "" if draw is _draw_dice else "\npixels changed"
            name = style.wrapped(chosen[0].label, 34) + quantity
            axes.set_title(name, loc="left", fontsize=9, color=style.INK, fontweight="normal")
    if is_split:
        _share_limits(grid, panels)
    _legend(figure, entries)
    return figure


def _share_limits(grid: Sequence[Axes], panels: Sequence[tuple]) -> None:
    """Gives panels that show the same quantity the same axes."""
    for draw in {draw for draw, _ in panels}:
        same = [axes for axes, (other, _) in zip(grid, panels, strict=False) if other is draw]
        for read, write in (("get_ylim", "set_ylim"), ("get_xlim", "set_xlim")):
            limits = [getattr(axes, read)() for axes in same]
            for axes in same:
                getattr(axes, write)(min(low for low, _ in limits), max(high for _, high in limits))


_DICE = "Mean Dice of the pseudo-labels with the truth, at the step from which each round is used."
_CHANGED = "Without a truth to compare with: share of the pixels that refinement changed."
_NOTE = "For information only; nothing is trained on or chosen by it."


def _draw_dice(axes: Axes, lines: Sequence[_Line]) -> None:
    seen = []
    for line in lines:
        if _is_refined(line):
            _plot(axes, line, line.rounds.dice_before, linewidth=1.0, linestyle=_DASHES, markersize=3.5, is_hollow=True)
        _plot(axes, line, line.rounds.dice)
        seen += [line.rounds.dice, line.rounds.dice_before]
    values = np.concatenate(seen)
    low, high = np.nanmin(values), np.nanmax(values)
    axes.set_ylim(max(0, _STEP * np.floor(low / _STEP - 0.1)), min(1.01, _STEP * np.ceil(high / _STEP + 0.1)))
    style.calm(axes, xlabel="step", title="Dice of the pseudo-labels")


def _draw_changed(axes: Axes, lines: Sequence[_Line]) -> None:
    from matplotlib.ticker import PercentFormatter

    for line in lines:
        _plot(axes, line, line.rounds.changed)
    axes.set_ylim(0, max(0.01, 1.15 * max(np.nanmax(line.rounds.changed, initial=0) for line in lines)))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    style.calm(axes, xlabel="step", title="Pixels changed by refinement")


def _plot(axes: Axes, line: _Line, values: np.ndarray, *, is_hollow: bool = False, **look: Any) -> None:
    is_there = np.isfinite(values)
    look = {"linewidth": 1.6, "markersize": 5.5, **look}
    face = "white" if is_hollow else line.colour
    edge = line.colour if is_hollow else "white"
    axes.plot(line.rounds.step[is_there], values[is_there], color=line.colour, marker=_marker(line.seed),
              markerfacecolor=face, markeredgecolor=edge, **look)  # fmt: skip


def _marker(seed: int) -> str:
    return _MARKERS[seed % len(_MARKERS)]


def _is_refined(line: _Line) -> bool:
    return not np.array_equal(line.rounds.dice, line.rounds.dice_before, equal_nan=True)


def _mark_steps(axes: Axes, lines: Sequence[_Line]) -> None:
    """Puts ticks on the rounds' steps, if they are few."""
    steps = np.unique(np.concatenate([line.rounds.step for line in lines]))
    if len(steps) <= 6:
        axes.set_xticks(steps)


def _legend(figure: Figure, entries: Mapping[str, Any]) -> None:
    from matplotlib.legend_handler import HandlerTuple

    look = {"frameon": False, "fontsize": 9, "labelcolor": style.INK, "handlelength": 3}
    handler = {tuple: HandlerTuple(ndivide=None, pad=0.4)}
    figure.legend(list(entries.values()), list(entries), loc="outside lower left", handler_map=handler, **look)


def _entries(lines: Sequence[_Line]) -> dict[str, Any]:
    """Returns what the legend says of colours (methods), markers (seeds, if several) and dashes."""
    from matplotlib.lines import Line2D

    entries = {style.plain(line.label): Line2D([], [], color=line.colour, linewidth=1.6) for line in lines}
    seeds = sorted({line.seed for line in lines})
    if len(seeds) > 1:
        look = {"color": style.QUIET, "linestyle": "none", "markersize": 5.5}
        markers = tuple(Line2D([], [], marker=_marker(seed), **look) for seed in seeds)
        entries[f"seeds {', '.join(map(str, seeds))}"] = markers
    if any(line.rounds.has_truth and _is_refined(line) for line in lines):
        entries["before refinement"] = Line2D([], [], color=style.QUIET, linewidth=1.0, linestyle=_DASHES)
    return entries


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
