"""Figure of all methods at a glance, over the labelled splits: mean test Dice."""

from __future__ import annotations

from collections.abc import Sequence

from fewslice.report.figures import style
from fewslice.report.reading.methods import Method, by_setup
from fewslice.report.tables import statistics as stats
from fewslice.report.tables.table import MEAN
from fewslice.report.tables.trainings import scored_of

_SPLIT_COLOURS = ("#8fb8d0", "#1f6f9c", "#123f5a", "#d1603d", "#4c8c6b", "#8561a8")
_MARKERS = "osD^vP"
_SPREAD = 0.13  # between the splits of one row


def plot_overview(methods: Sequence[Method]) -> style.Figure:
    """Draws the mean Dice of every tested method, a row each; each labelled split has its own colour and mark.

    Large marks are means over seeds, small ones single seeds.
    """
    setups = by_setup(scored_of(methods))
    labels = list(dict.fromkeys(method.label for same in setups.values() for method in same))
    labels.sort(key=[method.label for method in methods].index)
    figure = style.new_figure(9, 1.1 + 0.36 * len(labels))
    axes = figure.subplots()
    for row in range(len(labels)):
        axes.axhline(row, color=style.RULE, linewidth=0.7, zorder=0)
    for index, same in enumerate(setups.values()):
        look = {"color": _SPLIT_COLOURS[(index + (len(setups) == 1)) % len(_SPLIT_COLOURS)]}
        look |= {"marker": _MARKERS[index % len(_MARKERS)], "linestyle": "none"}
        seeds, baseline = stats.means(same)["dice", MEAN], stats.the_baseline(same)
        for label, values in seeds.groupby(level="method"):
            row = labels.index(label) + _SPREAD * (index - (len(setups) - 1) / 2) * (len(setups) > 1)
            axes.plot(values, [row] * len(values), **look, markersize=4, alpha=0.55, markeredgewidth=0)
            axes.plot([values.mean()], [row], **look, markersize=8, markeredgecolor="white")
            if baseline is not None and label == baseline.label:
                axes.axvline(values.mean(), color=look["color"], linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.plot([], [], markersize=8, label=style.plain(same[0].runs[0].split), **look)
    style.calm(axes, xlabel="mean Dice on the test volumes")
    axes.grid(False)
    axes.grid(True, axis="x", color=style.RULE, linewidth=0.7)
    axes.set_yticks(range(len(labels)), [style.wrapped(label, 52) for label in labels], fontsize=9, color=style.INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    figure.legend(loc="outside lower right", ncols=len(setups), **style.LEGEND)
    return figure
