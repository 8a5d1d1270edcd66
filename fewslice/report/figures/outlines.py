"""Figures of outlines by several methods on the best, median and worst test volume."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fewslice.core.errors import DataError, FewSliceError
from fewslice.data.io.itk import read_image_file
from fewslice.report.figures import style
from fewslice.report.figures.contours import Row, case_rows, plot_rows
from fewslice.report.figures.native import Fetch
from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run
from fewslice.report.tables.statistics import best_method, volume_dice
from fewslice.report.tables.table import number


def best_median_worst(values: Mapping[str, float]) -> dict[str, str]:
    """Returns "best", "median", "worst" -> case_id by its value; fewer for one or two volumes."""
    order = sorted((case for case in values if math.isfinite(values[case])), key=lambda case: (-values[case], case))
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    first_names = {place: name for name, place in reversed(places.items())}
    return {first_names[place]: order[place] for place in sorted(first_names)} if order else {}


def compared(methods: Sequence[Method]) -> list[Method]:
    """Returns the methods of a split to outline: the baseline, if any, and the best other by mean test Dice."""
    baseline = next((method for method in methods if method.has_scores and method.is_baseline), None)
    others = [best_method(methods) or next((m for m in methods if m.has_scores and m is not baseline), None)]
    return [method for method in (baseline, *others) if method is not None]


def plot_methods(
    methods: Sequence[Method], fetch: Fetch, structures: Sequence[str], *, more: Sequence[Method] = ()
) -> list[style.Figure]:
    """Draws the best, median and worst test volume, by the last method's mean Dice, a row per method.

    Args:
        methods: Evaluated methods, usually the baseline and the best other one. Of each, a seed that all have is
            shown, if there is one.
        fetch: case_id -> the volume on its original grid.
        structures: Names of the labels 1, 2, ...
        more: Further methods, each drawn in a figure of its own: the same slices of the same volumes.

    Returns:
        A figure of `methods`, then one for each of `more`.

    Raises:
        FewSliceError: no volume was predicted by all methods, or a volume cannot be drawn.
        DataError: a prediction is missing or damaged.
    """
    drawn = [*methods, *more]
    runs = shown_runs(drawn)
    means = [volume_dice([Method("", (run,))]).droplevel(["method", "seed"]).to_dict() for run in runs]
    chosen_by = means[len(methods) - 1]
    common = {case: chosen_by[case] for case in chosen_by if all(case in mean for mean in means[: len(methods)])}
    chosen = best_median_worst(common)
    if not chosen:
        raise FewSliceError("The methods have no evaluated test volume in common, so no outlines can be compared.")
    rows: list[list[Row]] = [[] for _ in range(1 + len(more))]
    for name, case in chosen.items():
        predicted = [index for index, mean in enumerate(means) if case in mean]
        labels = {index: f"{name}: {case}\n{_label(drawn[index], means[index][case])}" for index in predicted}
        read = {labels[i]: _read_prediction(runs[i].eval / "predictions", case) for i in labels}
        found = case_rows(fetch(case), read, structures)
        for index, row in zip(predicted, found, strict=True):
            rows[max(0, index - len(methods) + 1)].append(row)
    return [plot_rows(part, structures) for part in rows if part]


def _label(method: Method, dice: float) -> str:
    return f"{textwrap.fill(method.label, 24)}\nDice {number(dice)}"


def shown_runs(methods: Sequence[Method]) -> list[Run]:
    """Returns the run to draw of each method: of the lowest seed that all tested methods have, else of its first."""
    tested = [{run.seed: run for run in method.runs if len(run.scores)} for method in methods]
    shared = set.intersection(*(set(runs) for runs in tested))
    return [runs[min(shared or runs)] for runs in tested]


def _read_prediction(folder: Path, case: str) -> np.ndarray:
    path = folder / f"{case}.png"
    path = path if path.is_file() else folder / f"{case}.nii.gz"
    if not path.is_file():
        remedy = "Evaluate the run again with saved predictions."
        raise DataError(path, expected="a prediction", found="no such file", remedy=remedy)
    return read_image_file(path, is_label=True).array.astype(np.uint8)
