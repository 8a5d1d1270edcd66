"""When an experiment ends before its last round: its budget is spent, the network is certain, or a number stands still.

A decision is a function of the finished rounds on disk, so that a repeated command ends where the first one did.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewslice.active import round_files
from fewslice.active.labels import Labels
from fewslice.core import done, files
from fewslice.core.errors import ConfigError
from fewslice.settings.experiment import Stop


def reason(stop: Stop | None, run: Path, labels: Labels) -> str:
    """Returns why an experiment ends after its last finished round, in words; "" if it does not.

    Args:
        run: The run directory.
        labels: Those after that round.

    Raises:
        ConfigError: no such metric.
        DataError: a file of a round is damaged.
    """
    if stop is None:
        return ""
    added = sum(len(part.units) for part in labels.rounds if part.number > 0)
    if stop.budget is not None and added >= stop.budget:
        return f"{added} units were annotated after the first round (`stop.budget: {stop.budget}`)."
    folders = [round_files.folder_of(run, part.number) for part in labels.rounds if part.number >= 0]
    path = folders[-1] / round_files.UNCERTAINTY
    if stop.uncertainty is not None and path.exists():
        mean = files.read_record(path, {"mean": float}, remedy=done.OF_ROUND)["mean"]
        if mean < stop.uncertainty:
            limit = f"`stop.uncertainty: {stop.uncertainty:g}`"
            return f"the mean score {mean:.4g} of the units to choose from is below {limit}."
    if stop.metric is not None:
        values = [_number(path, stop.metric) for path in folders if (path / round_files.METRICS).exists()]
        if stands_still(values, stop.patience, stop.epsilon):
            return f"`stop.metric: {stop.metric}` has not changed for {stop.patience} rounds ({values[-1]:.4g})."
    return ""


def stands_still(values: Sequence[float], patience: int, epsilon: float) -> bool:
    """Whether the newest of these values and the `patience` before it differ from it by `epsilon` at most.

    Notes:
        Differs from the published criterion (baal 2.1.0), which already ends at `patience` values if these are all.
    """
    latest = np.asarray(values[-(patience + 1) :], np.float64)
    return len(latest) > patience and bool(np.isclose(latest, latest[-1], atol=epsilon).all())


def are_finished(run: Path, labels: Labels, count: int, stop: Stop | None = None) -> tuple[bool, str]:
    """Checks the finished rounds of a run up to the first that is not.

    Args:
        labels: Those before the first round.
        count: Rounds that are planned.

    Returns:
        Whether no round is left to do, and why it ended before the last one, if it did. Raises `DataError` as
        `round_files.read_finished`.
    """
    for number in range(count):
        folder = round_files.folder_of(run, number)
        if not (folder / done.NAME).exists():
            return False, ""
        labels = round_files.read_finished(folder, labels)
        if number + 1 < count and (why := reason(stop, run, labels)):
            return True, why
    return True, ""


def _number(folder: Path, metric: str) -> float:
    known = files.read_record(folder / round_files.METRICS, remedy=done.OF_ROUND)
    numbers = [name for name, value in known.items() if isinstance(value, (int, float)) or value is None]
    if metric not in numbers:
        where = folder / round_files.METRICS
        raise ConfigError(f"`stop.metric`: {where} has no number {metric!r}. It has {', '.join(numbers)}.")
    return float("nan") if known[metric] is None else float(known[metric])
