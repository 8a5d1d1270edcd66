"""Numbers over several seeds of active-learning experiments: means, intervals, areas under curves, paired differences.

Everything is computed per seed first and averaged over seeds last, so that areas and differences have intervals too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewslice.report.reading.experiment_methods import ExperimentMethod

TEST, VALIDATION = "test_dice", "val_dice"
FEWEST_FOR_INTERVAL = 3  # seeds
PAPERS_MEAN = (0.02, 0.03, 0.04, 0.05)  # the published tables end with the mean of these budgets
_LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Attributes:
        mean: NaN without values.
        deviation: Sample standard deviation; NaN for one value.
        half_width: Of the 95 % t interval of the mean; NaN for fewer than three values.
        values: One per seed.
    """

    mean: float
    deviation: float
    half_width: float
    values: tuple[float, ...]

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return math.isfinite(self.half_width) and abs(self.mean) > self.half_width


def spread(values: Sequence[float]) -> Spread:
    """Returns mean, sample deviation and 95 % t interval of one value per seed; NaN count for nothing.

    The interval is mean ± t(0.975, n - 1) · s / √n: where the mean over many seeds lies, as far as these few tell.
    """
    from scipy.special import stdtrit

    defined = tuple(float(value) for value in values if math.isfinite(value))
    count = len(defined)
    mean = float(np.mean(defined)) if count else math.nan
    deviation = float(np.std(defined, ddof=1)) if count > 1 else math.nan
    quantile = stdtrit(count - 1, 0.5 + _LEVEL / 2) if count >= FEWEST_FOR_INTERVAL else math.nan
    return Spread(mean, deviation, float(quantile * deviation / math.sqrt(count)) if count else math.nan, defined)


def metric_of(methods: Sequence[ExperimentMethod]) -> str:
    """Returns what is compared: Dice on the test volumes, or on the validation volumes if nothing was tested."""
    is_tested = any(one.values(TEST) for method in methods for one in method.experiments)
    return TEST if is_tested else VALIDATION


def budgets(methods: Sequence[ExperimentMethod], metric: str) -> list[float]:
    """Returns the fractions at which any experiment has a value, ascending."""
    return sorted({f for method in methods for one in method.experiments for f in one.values(metric)})


def common_budgets(methods: Sequence[ExperimentMethod], metric: str) -> tuple[float, ...]:
    """Returns the fractions that all methods reached, the range of the area under the curve.

    A method counts with its finished experiments. One that has none does not shorten the range of the others, unless
    none of the methods has any.
    """
    reached = []
    for is_finished in (True, False):
        for method in methods:
            chosen = [one for one in method.experiments if one.is_finished or not is_finished]
            fractions = {f for one in chosen for f in one.values(metric)}
            if fractions:
                reached.append(fractions)
        if reached:
            break
    return tuple(sorted(set.intersection(*reached))) if reached else ()


def at(method: ExperimentMethod, metric: str, fraction: float) -> dict[int, float]:
    """Returns seed -> the value at one budget, of the seeds that have it."""
    found = {seed: one.values(metric).get(fraction) for seed, one in method.by_seed.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def area(curve: dict[float, float], fractions: Sequence[float]) -> float:
    """Returns the area under a budget curve by the trapezoid rule over the fraction, divided by the range.

    So it is a mean Dice over the budget from the first to the last fraction: as high as a level curve of that Dice.

    Args:
        curve: fraction -> Dice.
        fractions: At least two; NaN if there are fewer or the curve lacks one of them.
    """
    x = np.asarray(sorted(fractions), float)
    y = np.asarray([curve.get(float(value), math.nan) for value in x])
    if len(x) < 2 or not np.isfinite(y).all():
        return math.nan
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / (x[-1] - x[0]))


def areas(method: ExperimentMethod, metric: str, fractions: Sequence[float]) -> dict[int, float]:
    """Returns seed -> area under its curve, of the seeds that reached all `fractions`."""
    found = {seed: area(one.values(metric), fractions) for seed, one in method.by_seed.items()}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def has_papers_mean(fractions: Sequence[float]) -> bool:
    """Whether the budgets 2, 3, 4 and 5 % are all there."""
    return set(PAPERS_MEAN) <= set(fractions)


def papers_means(method: ExperimentMethod, metric: str) -> dict[int, float]:
    """Returns seed -> mean over the budgets 2 to 5 %, of the seeds that have them all."""
    curves = {seed: one.values(metric) for seed, one in method.by_seed.items()}
    return {
        seed: float(np.mean([curve[f] for f in PAPERS_MEAN]))
        for seed, curve in curves.items()
        if set(PAPERS_MEAN) <= set(curve)
    }


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Spread:
    """Returns the difference ours - theirs over the seeds that both have."""
    return spread([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def the_random(methods: Sequence[ExperimentMethod]) -> ExperimentMethod | None:
    """Returns the method that buys at random; None if there is none or more than one."""
    found = [method for method in methods if method.is_random]
    return found[0] if len(found) == 1 else None
