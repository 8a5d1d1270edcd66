"""Numbers of the report: means, their spread over seeds, areas under curves and paired differences.

Every mean is taken in one order: over the structures of a volume, then over volumes, then over seeds. Undefined values
(a structure absent in truth and prediction) are left out. Rows of the frames are (label of the method, seed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import TEST, VALIDATION
from fewslice.report.tables.table import MEAN, percent

FEWEST_FOR_INTERVAL = 3  # seeds
PAPERS_MEAN = (0.02, 0.03, 0.04, 0.05)  # the published tables end with the mean of these budgets
AREA, MEAN_OF_PAPERS = "area", "mean 2–5 %"
_LEVEL = 0.95
_ROW = ["method", "seed"]


@dataclass(frozen=True, eq=False)
class Spread:
    """Means over seeds: frames with a row per method and the columns of the values that they are made of.

    Attributes:
        mean: NaN without values.
        deviation: Sample standard deviation; NaN for one value.
        half_width: Of the 95 % t interval of the mean, t(0.975, n - 1) · s / √n; NaN for fewer than three values.
        count: Number of values.
    """

    mean: pd.DataFrame
    deviation: pd.DataFrame
    half_width: pd.DataFrame
    count: pd.DataFrame

    @property
    def excludes_zero(self) -> pd.DataFrame:
        """Whether the interval lies on one side of 0."""
        return self.mean.abs() > self.half_width


def over_seeds(values: pd.DataFrame) -> Spread:
    """Returns means over the seeds of each method; NaN count for nothing."""
    from scipy.special import stdtrit

    groups = values.groupby(level="method", sort=False)
    mean, deviation, count = groups.mean(), groups.std(), groups.count()
    quantile = stdtrit(np.maximum(count - 1, 1), 0.5 + _LEVEL / 2)
    half = (quantile * deviation / np.sqrt(count)).where(count >= FEWEST_FOR_INTERVAL)
    return Spread(mean, deviation, half, count)


def holm(spread: Spread, column: str) -> pd.Series:
    """Returns label -> p of a two-sided t test that the mean differences of a column are 0, by Holm's correction.

    Sorted by size, the p of m methods are multiplied by m, m - 1, ..., 1 and never fall. NaN below three seeds.
    """
    from scipy.special import stdtr

    mean, deviation, count = (getattr(spread, name)[column] for name in ("mean", "deviation", "count"))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(mean.abs() / (deviation / np.sqrt(count)), nan=0.0, posinf=np.inf)
    p = pd.Series(2 * stdtr(np.maximum(count - 1, 1), -t), index=mean.index)[count >= FEWEST_FOR_INTERVAL].sort_values()
    raised = np.maximum.accumulate(p.to_numpy() * np.arange(len(p), 0, -1))
    return pd.Series(np.minimum(raised, 1.0), index=p.index).reindex(mean.index)


def the_baseline(methods: Sequence[Method]) -> Method | None:
    """Returns the baseline; None if there is none, or several, none of which is the right one for all others."""
    found = [method for method in methods if method.is_baseline]
    return found[0] if len(found) == 1 else None


def comparable(methods: Sequence[Method]) -> list[Method]:
    """Returns the methods that can be compared with the one baseline among them; [] without one."""
    baseline = the_baseline(methods)
    return [m for m in methods if baseline not in (None, m) and m.is_comparable(baseline)]


# --- trainings ---


def scores(methods: Sequence[Method]) -> pd.DataFrame:
    """Returns the scores of all test volumes: method, seed, case_id, structure, metric, value, ..."""
    runs = [(method.label, run) for method in methods for run in method.runs if len(run.scores)]
    tables = [run.scores.assign(method=label, seed=run.seed) for label, run in runs]
    empty = pd.DataFrame(columns=[*_ROW, "case_id", "structure", "metric"])
    return pd.concat(tables, ignore_index=True) if tables else empty


def structures(methods: Sequence[Method]) -> list[str]:
    """Returns the structures that occur in the scores, in the order of the files."""
    return list(scores(methods)["structure"].unique())


def means(methods: Sequence[Method]) -> pd.DataFrame:
    """Returns means over volumes, a column per (metric, structure) and (metric, `MEAN`)."""
    table = scores(methods)
    each = table.groupby([*_ROW, "metric", "structure"], sort=False)["value"].mean()
    volumes = table.groupby([*_ROW, "metric", "case_id"], sort=False)["value"].mean()
    mean = volumes.groupby([*_ROW, "metric"], sort=False).mean()
    mean = pd.concat({MEAN: mean}, names=["structure"]).reorder_levels(each.index.names)
    return pd.concat([each, mean]).unstack(["metric", "structure"])


def mean_dice(methods: Sequence[Method]) -> pd.Series:
    """Returns label -> mean Dice over seeds, of the methods that were tested."""
    scored = [method for method in methods if method.has_scores]
    return over_seeds(means(scored)).mean["dice", MEAN] if scored else pd.Series(dtype=float)


def volume_dice(methods: Sequence[Method]) -> pd.Series:
    """Returns (method, seed, case_id) -> Dice, the mean over structures."""
    table = scores(methods)
    return table[table["metric"] == "dice"].groupby([*_ROW, "case_id"], sort=False)["value"].mean()


def best_method(methods: Sequence[Method]) -> Method | None:
    """Returns the tested method with the highest mean Dice over seeds, other than a baseline; None without one."""
    others = {method.label: method for method in methods if method.has_scores and not method.is_baseline}
    found = mean_dice(list(others.values())).dropna()
    return others[found.idxmax()] if len(found) else None


@dataclass(frozen=True, eq=False)
class Difference:
    """How a method differs from another on the same volumes, in mean Dice.

    Attributes:
        by_volume: case_id -> difference, each averaged over the seeds that both have (else over all).
        mean: Over volumes.
        standard_error: Of that mean, from the spread over volumes; NaN for one volume.
        by_seed: Seed -> mean difference, of the seeds that both have.
    """

    by_volume: pd.Series
    mean: float
    standard_error: float
    by_seed: pd.Series

    @property
    def verdict(self) -> str:
        """What may be said: better or worse beyond two standard errors if all seeds agree."""
        if not len(self.by_volume):
            return "no common test volume"
        if not math.isfinite(self.standard_error):
            return "one volume says nothing"
        if (self.by_seed * self.mean <= 0).any():
            return "may be chance: seeds disagree"
        if abs(self.mean) <= 2 * self.standard_error:
            return "may be chance"
        return "better" if self.mean > 0 else "worse"


def difference(dice: pd.Series, label: str, baseline: str) -> Difference:
    """Compares two methods, given by their labels, volume by volume; `dice` as of `volume_dice`."""
    ours, theirs = dice.loc[label], dice.loc[baseline]
    by_seed = (ours - theirs).dropna().groupby(level="seed").mean()
    shared = ours.index.unique("seed").intersection(theirs.index.unique("seed"))
    if len(shared):
        ours, theirs = (values[values.index.isin(shared, level="seed")] for values in (ours, theirs))
    averages = [values.groupby(level="case_id").mean() for values in (ours, theirs)]
    by_volume = (averages[0] - averages[1]).dropna()
    error = float(by_volume.std() / math.sqrt(max(1, len(by_volume))))
    return Difference(by_volume, float(by_volume.mean()), error, by_seed)


# --- experiments ---


def metric_of(methods: Sequence[Method]) -> str:
    """Returns the metric to compare: Dice on the test volumes, or on the validation volumes if nothing was tested."""
    return TEST if any(run.values(TEST) for method in methods for run in method.runs) else VALIDATION


def curves(methods: Sequence[Method], metric: str) -> pd.DataFrame:
    """Returns a metric of the chosen networks, a column per annotated fraction, ascending."""
    rows = {(method.label, run.seed): run.values(metric) for method in methods for run in method.runs}
    table = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(list(rows), names=_ROW), dtype=float)
    return table[sorted(table.columns)]


def common_budgets(methods: Sequence[Method], metric: str) -> list[float]:
    """Returns the fractions that all methods reached, the range of the area under the curve.

    A method counts with its finished experiments. One that has none does not shorten the range of the others, unless
    none of the methods has any.
    """
    for is_finished in (True, False):
        runs = [[run for run in method.runs if run.is_finished or not is_finished] for method in methods]
        reached = [budgets for same in runs if (budgets := set().union(*(run.values(metric) for run in same)))]
        if reached:
            return sorted(set.intersection(*reached))
    return []


def columns(methods: Sequence[Method], metric: str) -> pd.DataFrame:
    """Returns the columns of the tables, per seed: area, mean of the published budgets, and each budget.

    The area under the curve (trapezoids) is divided by the range of the common budgets: it is a mean Dice over the
    budget. A seed that lacks one of the budgets has none.
    """
    table, common = curves(methods, metric), common_budgets(methods, metric)
    found = {}
    if len(common) > 1:
        area = np.trapezoid(table[common].to_numpy(), common, axis=1) / (common[-1] - common[0])
        found[AREA] = pd.Series(area, index=table.index)
    if set(PAPERS_MEAN) <= set(table.columns):
        found[MEAN_OF_PAPERS] = table[list(PAPERS_MEAN)].mean(axis=1, skipna=False)
    return pd.DataFrame({**found, **{percent(f): table[f] for f in table.columns}}, index=table.index)


def paired(values: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Returns differences of the other methods from one, on the seeds that both have; NaN on others."""
    theirs = values.loc[baseline]
    others = values.drop(index=baseline, level="method")
    return others - theirs.reindex(others.index.get_level_values("seed")).to_numpy()
