"""Numbers of the report: means per structure, spread over seeds, and paired differences on the test volumes.

Every mean is taken in one order: over the structures of a volume, then over volumes, then over seeds.
Undefined values (a structure absent in truth and prediction) are left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import Run

MEAN = "mean"  # name of the mean over structures in tables


@dataclass(frozen=True)
class Cell:
    """A mean of one metric and its standard deviation over seeds (NaN for one seed).

    `num_volumes` and `num_undefined` count volumes of the first seed; undefined means that the metric has no
    value.
    """

    value: float
    sd_seeds: float
    num_volumes: int
    num_undefined: int


@dataclass(frozen=True)
class PairedDifference:
    """How a method differs from another on the same volumes, in mean Dice.

    Attributes:
        by_volume: case_id -> difference, each averaged over the seeds.
        mean: Over volumes.
        standard_error: Of that mean, from the spread over volumes; NaN for one volume.
        by_seed: Mean difference for each seed that both have, else for no seed.
        verdict: "better", "worse" (beyond two standard errors, all seeds agree) or "unclear".
    """

    by_volume: dict[str, float]
    mean: float
    standard_error: float
    by_seed: tuple[float, ...]
    verdict: str

    @property
    def num_better(self) -> int:
        """Number of volumes on which the method is better."""
        return sum(value > 0 for value in self.by_volume.values())


def structures(methods: Sequence[Method]) -> list[str]:
    """Returns the structures that occur in the scores, in the order of the files."""
    return list(dict.fromkeys(s.structure for method in methods for run in method.runs for s in run.scores))


def volumes(run: Run, metric: str, structure: str) -> dict[str, float]:
    """Returns case_id -> a metric of one structure, or its mean over the defined structures (`MEAN`)."""
    found: dict[str, list[float]] = {}
    for score in run.scores:
        if score.metric == metric and structure in (MEAN, score.structure):
            found.setdefault(score.case_id, []).append(score.value)
    return {case: _mean(values) for case, values in found.items()}


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _deviation(values: Sequence[float]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan")


def cell(method: Method, metric: str, structure: str) -> Cell:
    """Returns the mean of a metric over volumes and then over seeds, with the sample deviation over seeds."""
    per_seed = [list(volumes(run, metric, structure).values()) for run in method.runs if run.scores]
    means = [_mean(values) for values in per_seed]
    first = per_seed[0] if per_seed else []
    defined = sum(math.isfinite(value) for value in first)
    return Cell(_mean(means), _deviation(means), defined, len(first) - defined)


def volume_means(method: Method, metric: str = "dice") -> dict[str, float]:
    """Returns case_id -> mean over structures, averaged over the method's seeds."""
    collected: dict[str, list[float]] = {}
    for run in method.runs:
        for case, value in volumes(run, metric, MEAN).items():
            collected.setdefault(case, []).append(value)
    return {case: _mean(values) for case, values in collected.items()}


def paired_difference(method: Method, baseline: Method) -> PairedDifference:
    """Compares the mean Dice of two methods volume by volume, on the seeds that both have (else on all)."""
    shared = {run.seed for run in method.runs if run.scores} & {run.seed for run in baseline.runs if run.scores}
    ours, theirs = method, baseline
    if shared:
        ours = Method(method.label, tuple(run for run in method.runs if run.seed in shared))
        theirs = Method(baseline.label, tuple(run for run in baseline.runs if run.seed in shared))
    by_volume = _difference(volume_means(ours), volume_means(theirs))
    by_seed = []
    for seed in sorted(shared):
        pair = [volume_means(Method("", tuple(r for r in m.runs if r.seed == seed))) for m in (ours, theirs)]
        by_seed.append(_mean(list(_difference(*pair).values())))
    values = list(by_volume.values())
    mean, error = _mean(values), _deviation(values) / math.sqrt(max(1, len(values)))
    return PairedDifference(by_volume, mean, error, tuple(by_seed), _verdict(mean, error, by_seed))


def _difference(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    pairs = {case: ours[case] - theirs[case] for case in ours if case in theirs}
    return {case: value for case, value in pairs.items() if math.isfinite(value)}


def _verdict(mean: float, error: float, by_seed: Sequence[float]) -> str:
    if not math.isfinite(mean) or not math.isfinite(error) or abs(mean) <= 2 * error:
        return "unclear"
    if any(value * mean <= 0 for value in by_seed):
        return "unclear"
    return "better" if mean > 0 else "worse"


def empty_classes(method: Method) -> list[str]:
    """Returns a text per structure of a volume that truth or prediction lacks, such as "002_ED rv: ..."."""
    found = {}
    for run in method.runs:
        for score in run.scores:
            if score.note:
                found[f"{score.case_id} {score.structure}: {score.note}"] = None
    return list(found)


def best_method(methods: Sequence[Method]) -> Method | None:
    """Returns the tested method with the highest mean Dice over seeds, other than a baseline; None without one."""
    scored = [method for method in methods if method.has_scores and not method.is_baseline]
    values = [(cell(method, "dice", MEAN).value, -index) for index, method in enumerate(scored)]
    finite = [value for value in values if math.isfinite(value[0])]
    return scored[-max(finite)[1]] if finite else None


def is_comparable(method: Method, baseline: Method) -> bool:
    """Whether both were trained on the same labelled volumes, and for the same number of steps.

    Methods that go on from the baseline may take more steps; `_sentence` names them.
    """
    if method.continues_a_baseline:
        return method.protocol[:2] == baseline.protocol[:2]
    return method.protocol == baseline.protocol


def number(value: float, *, digits: int = 3, signed: bool = False, unit: bool = False) -> str:
    """Returns a number as papers print it: ".745", "-.012", "+.025"; "–" for NaN. With `unit` keeps the 0."""
    if not math.isfinite(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") and not unit else text
    negative = value < 0 and float(f"{value:.{digits}f}") != 0
    return ("−" if negative else "+" if signed else "") + text
