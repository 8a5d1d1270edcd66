"""Tables of active-learning experiments, for the terminal and the page, and what they show in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fewslice.report.reading.experiment_methods import ExperimentMethod
from fewslice.report.tables import budget_statistics as stats
from fewslice.report.tables.result_tables import Table
from fewslice.report.tables.statistics import number

Column = Callable[[ExperimentMethod], dict[int, float]]
METRIC_TITLES = {stats.TEST: "test Dice", stats.VALIDATION: "validation Dice"}


def percent(fraction: float) -> str:
    """Returns a fraction as tables show it: "1 %", "2.5 %"."""
    return f"{round(100 * fraction, 4):g} %"


def columns(methods: Sequence[ExperimentMethod], metric: str) -> dict[str, Column]:
    """Returns title -> what stands in a column: a function from a method to one value per seed."""
    fractions, common = stats.budgets(methods, metric), stats.common_budgets(methods, metric)
    found: dict[str, Column] = {}
    if len(common) > 1:
        found["area"] = lambda method: stats.areas(method, metric, common)
    if stats.has_papers_mean(fractions):
        found["mean 2–5 %"] = lambda method: stats.papers_means(method, metric)
    return found | {percent(f): lambda method, f=f: stats.at(method, metric, f) for f in fractions}


def dice_table(methods: Sequence[ExperimentMethod], metric: str) -> Table:
    """Returns mean ± sample deviation over seeds, a row per method, the summaries before the budgets.

    The best mean is bold, of those over as many seeds as any. Where a cell rests on fewer seeds than the method has,
    their number stands in brackets.
    """
    found = columns(methods, metric)
    cells = [[stats.spread(list(of(method).values())) for of in found.values()] for method in methods]
    rows = []
    for method, row in zip(methods, cells, strict=True):
        count = len(method.experiments)
        rows.append((method.label, str(count), *(_shown(cell, count) for cell in row)))
    best = {(r, c + 2) for c in range(len(found)) for r in _best([row[c] for row in cells])}
    return Table(("", "seeds", *found), tuple(rows), frozenset(best))


def _shown(cell: stats.Spread, count: int) -> str:
    text = number(cell.mean)
    if math.isfinite(cell.deviation):
        text += f" ± {number(cell.deviation)}"
    return f"{text} ({len(cell.values)})" if 0 < len(cell.values) < count else text


def _best(cells: Sequence[stats.Spread]) -> list[int]:
    most = max(len(cell.values) for cell in cells)
    means = [cell.mean for cell in cells if cell.values and len(cell.values) == most]
    if len(means) < 2 or min(means) == max(means):
        return []
    return [i for i, cell in enumerate(cells) if len(cell.values) == most and cell.mean == max(means)]


def difference_table(methods: Sequence[ExperimentMethod], metric: str) -> Table | None:
    """Returns each method's difference from `random` on the seeds both have, with the half width of its interval.

    Differences whose interval excludes 0 are bold. None without exactly one random method or anything to compare.
    """
    baseline = stats.the_random(methods)
    others = [method for method in methods if method is not baseline]
    if baseline is None or not others:
        return None
    found = columns(methods, metric)
    rows, bold = [], set()
    for method in others:
        shared = sorted(method.by_seed.keys() & baseline.by_seed.keys())
        cells = [stats.paired(of(method), of(baseline)) for of in found.values()]
        bold |= {(len(rows), index + 2) for index, cell in enumerate(cells) if cell.excludes_zero}
        rows.append((method.label, str(len(shared)), *(_difference(cell, len(shared)) for cell in cells)))
    return Table(("Difference from random", "seeds", *found), tuple(rows), frozenset(bold))


def _difference(cell: stats.Spread, count: int) -> str:
    text = number(cell.mean, signed=True)
    if math.isfinite(cell.half_width):
        text += f" ± {number(cell.half_width)}"
    return f"{text} ({len(cell.values)})" if 0 < len(cell.values) < count else text


def summary_name(methods: Sequence[ExperimentMethod], metric: str) -> str:
    """Returns the column that stands for the whole curve: the area, or the last budget without one; "" if none."""
    names = list(columns(methods, metric))
    return "area" if "area" in names else names[-1] if names else ""


def finding(methods: Sequence[ExperimentMethod], metric: str) -> list[str]:
    """Says what the comparison shows, and no more: a sentence on the best method and one on each outcome.

    Args:
        methods: Of one setup.
        metric: "test_dice" or "val_dice".
    """
    found = columns(methods, metric)
    if not found:
        return ["None of these experiments has scores yet."]
    name = summary_name(methods, metric)
    of, what = found[name], METRIC_TITLES[metric]
    what = f"mean {what} over the budget" if name == "area" else f"{what} at {name}"
    values = {method: stats.spread(list(of(method).values())) for method in methods}
    finite = {method: value for method, value in values.items() if math.isfinite(value.mean)}
    if not finite:
        return ["No experiment has reached the common budgets yet."]
    seeds = max(len(value.values) for value in finite.values())
    best = max(finite, key=lambda method: (len(finite[method].values), finite[method].mean))
    head = f"{best.label}: {what} {number(finite[best].mean)} (seeds: {seeds})"
    if len(finite) == 1:
        return [f"{head}. There is nothing to compare it with."]
    baseline = stats.the_random(methods)
    rivals = sum(len(value.values) == seeds for value in finite.values())
    fewer = f" ({len(finite) - rivals} more have fewer seeds)" if rivals < len(finite) else ""
    lines = [f"{head}, the highest of {rivals} methods, which flatters it{fewer}."]
    lines = lines if rivals > 1 else [f"{head}{fewer}."]
    if baseline is None or baseline not in finite:
        return [*lines, "There is no random choice of the same setup beside them, so nothing is said about the gain."]
    return lines + _outcomes([m for m in finite if m is not baseline], baseline, of)


def _outcomes(others: Sequence[ExperimentMethod], baseline: ExperimentMethod, of: Column) -> list[str]:
    heads = {
        "better": "Better than random choice, the 95 % interval over seeds excluding 0",
        "worse": "Worse than random choice, the 95 % interval over seeds excluding 0",
        "unclear": "May be chance (the interval holds 0)",
        "few": f"Too few seeds in common with random choice to tell (below {stats.FEWEST_FOR_INTERVAL})",
        "none": "No seed in common with random choice, so not compared",
    }
    groups: dict[str, list[str]] = {name: [] for name in heads}
    for method in others:
        pair = stats.paired(of(method), of(baseline))
        name = "unclear"
        if not pair.values:
            name = "none"
        elif not math.isfinite(pair.half_width):
            name = "few"
        elif pair.excludes_zero:
            name = "better" if pair.mean > 0 else "worse"
        text = f" ({_difference(pair, len(pair.values))})" if pair.values else ""
        groups[name].append(f"{method.label}{text}")
    return [f"{heads[name]}: {'; '.join(labels)}." for name, labels in groups.items() if labels]
