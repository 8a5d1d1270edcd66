"""Tables of active-learning experiments, and all of their numbers as rows of results.csv."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fewslice.report.reading.methods import Method
from fewslice.report.reading.runs import TEST, VALIDATION, Round, Run
from fewslice.report.tables import statistics as stats
from fewslice.report.tables.table import (
    MEAN,
    METRICS,
    Table,
    count,
    duration,
    highest,
    number,
    percent,
    plus_minus,
    structure_name,
)
from fewslice.settings.facts import SAFE

EQUISPACED = "equispaced"
METRIC_TITLES = {TEST: "test Dice", VALIDATION: "validation Dice"}
RESULT_COLUMNS = (
    "experiment", "method", "setup", "strategy", "seed", "round", "fraction", "units", "annotated_pixels", "member",
    "set", "structure", "metric", "value",
)  # fmt: skip


def result_rows(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """Returns the rows of results.csv, one per experiment, round, structure and metric; NaN where undefined."""
    rows = []
    for method in methods:
        for one in method.runs:
            head = {"experiment": one.path.name, "method": method.label, "setup": method.setup}
            head |= {"strategy": one.config.get("strategy"), "seed": one.seed}
            for each in one.rounds:
                place = {"round": each.number, "fraction": each.fraction, "units": _whole(each.units)}
                place |= {"annotated_pixels": _whole(each.annotated_pixels), "member": each.chosen}
                rows += [{**head, **place, **row} for row in _numbers(each)]
    return rows


def _whole(value: float) -> float | int:
    return int(value) if math.isfinite(value) and value == int(value) else value


def _numbers(one: Round) -> list[dict[str, Any]]:
    rows = []
    for name, value in one.metrics.items():
        where, _, metric = name.partition("_")
        rows.append({"set": where, "structure": MEAN, "metric": metric, "value": value})
    where = "test" if math.isfinite(one.metrics.get(TEST, math.nan)) else "val"
    for structure, values in one.per_structure.items():
        rows += [{"set": where, "structure": structure, "metric": m, "value": v} for m, v in values.items()]
    if one.seconds:
        rows.append({"set": "", "structure": "", "metric": "seconds", "value": one.total_seconds})
    return rows


def dice_table(methods: Sequence[Method], metric: str) -> Table:
    """Returns mean ± sample deviation over seeds, a row per method, the summaries before the budgets.

    The best mean is bold, of those over as many seeds as any. Where a cell rests on fewer seeds than the method has,
    their number stands in brackets.
    """
    spread, seeds = stats.over_seeds(stats.columns(methods, metric)), {m.label: len(m.runs) for m in methods}
    means = spread.mean.where(spread.count == spread.count.max())
    best = {(row, column) for column, name in enumerate(means, start=2) for row in highest(list(means[name]))}
    rows = _rows(spread, spread.deviation, seeds)
    return Table(("", "seeds", *means), rows, frozenset(best), css="numbers volumes many")


def _rows(
    spread: stats.Spread, widths: pd.DataFrame, seeds: dict[str, int], *, signed: bool = False
) -> tuple[tuple[str, ...], ...]:
    def cell(label: str, name: str) -> str:
        text = plus_minus(spread.mean.at[label, name], widths.at[label, name], signed=signed)
        defined = spread.count.at[label, name]
        return f"{text} ({defined})" if 0 < defined < seeds[label] else text

    names = spread.mean.columns
    return tuple((label, str(seeds[label]), *(cell(label, name) for name in names)) for label in spread.mean.index)


def difference_table(methods: Sequence[Method], metric: str) -> Table | None:
    """Returns each method's difference from `random` on the seeds both have, with the half width of its interval.

    Differences whose interval excludes 0 are bold; the verdict is on one column, by a paired t test with Holm's
    correction for the number of methods. None without exactly one random method or anything to compare.
    """
    baseline, values = stats.the_baseline(methods), stats.columns(methods, metric)
    if baseline is None or len(methods) < 2 or values.empty:
        return None
    spread = stats.over_seeds(stats.paired(values, baseline.label))
    seeds = {m.label: len(m.shared_seeds(baseline)) for m in methods}
    name = stats.AREA if stats.AREA in values else values.columns[-1]
    rows = _rows(spread, spread.half_width, seeds, signed=True)
    p = stats.holm(spread, name)
    rows = tuple((*row[:2], _verdict(spread, row[0], name, p[row[0]]), number(p[row[0]]), *row[2:]) for row in rows)
    marks = {(row, column + 4) for row, column in np.argwhere(spread.excludes_zero.to_numpy()).tolist()}
    header = ("Difference from random", "seeds", f"verdict ({name})", "p (Holm)", *values.columns)
    return Table(header, rows, frozenset(marks), css="numbers volumes many")


def safe_table(methods: Sequence[Method], metric: str) -> Table | None:
    """Returns what hedging (`safe`) gained or lost against each half alone, with otherwise equal settings and seeds.

    Half widths of intervals as in `difference_table`; None without such experiments.
    """
    values, found, seeds = stats.columns(methods, metric), {}, {}
    for method in methods:
        for other in _halves(method, methods):
            label = f"{method.label} − {other.label}"
            found[label] = values.loc[method.label] - values.loc[other.label].reindex(values.loc[method.label].index)
            seeds[label] = len(method.shared_seeds(other))
    if not found:
        return None
    spread = stats.over_seeds(pd.concat(found, names=["method"]))
    header = ("Safe against its halves", "seeds", *values.columns)
    return Table(header, _rows(spread, spread.half_width, seeds, signed=True), css="numbers volumes many")


def _halves(method: Method, methods: Sequence[Method]) -> list[Method]:
    """Returns the methods of the two halves of a hedge: its strategy alone, and `equispaced`."""
    mine = method.runs[0].facts["settings"]
    alone = {name: value for name, value in mine.items() if name != SAFE}

    def frame(settings: dict[str, Any]) -> dict[str, Any]:
        """All but the query, and the encoder that serves its features (another one of a warm start is in the setup)."""
        return {n: each for n, each in settings.items() if n != "strategy" and not n.startswith(("query.", "encoder"))}

    def is_half(settings: dict[str, Any]) -> bool:
        return settings == alone or (settings.get("strategy") == EQUISPACED and frame(settings) == frame(mine))

    others = [other for other in methods if not other.runs[0].facts["settings"].get(SAFE)]
    return [other for other in others if is_half(other.runs[0].facts["settings"])] if mine.get(SAFE) else []


def _verdict(spread: stats.Spread, label: str, name: str, p: float) -> str:
    if not spread.count.at[label, name]:
        return "not compared"
    if not math.isfinite(p):
        return "too few seeds"
    if p >= 0.05:
        return "may be chance"
    return "better" if spread.mean.at[label, name] > 0 else "worse"


def leader(methods: Sequence[Method], metric: str) -> dict[str, Any] | None:
    """Returns the method with the highest mean of those over as many seeds as any; None without values.

    Keys: its `label`, `mean` and number of `seeds`; the `column` that is compared (the area, or the last budget); the
    `count` of methods that have it, 0 without any, and of `rivals` with as many seeds.
    """
    values = stats.columns(methods, metric)
    if values.empty:
        return None
    column = stats.AREA if stats.AREA in values else values.columns[-1]
    spread = stats.over_seeds(values[[column]])
    mean, seeds = spread.mean[column].dropna(), spread.count[column]
    rivals = mean[seeds[mean.index] == seeds[mean.index].max()]
    if not len(mean):
        return {"count": 0}
    label = rivals.idxmax()
    best = {"label": label, "mean": rivals[label], "seeds": int(seeds[label]), "column": column}
    return {**best, "count": len(mean), "rivals": len(rivals)}


def rounds_table(run: Run) -> Table:
    """Returns a row per round: what was queried, how good the networks are, how long it took."""
    columns: dict[str, Callable[[Round], str]] = {
        "Round": lambda one: str(one.number),
        "budget": lambda one: percent(one.fraction),
        run.unit: lambda one: count(one.units),
        "new": lambda one: str(len(one.picks)) if len(one.picks) else "–",
        "patients": lambda one: str(one.picks["patient"].nunique()) if len(one.picks) else "–",
        "strategy": lambda one: one.strategy or "–",
        "pixels": lambda one: count(one.annotated_pixels),
        "val Dice": lambda one: "not trained" if one.is_skipped else number(one.metrics.get(VALIDATION, math.nan)),
        "test Dice": lambda one: number(one.metrics.get(TEST, math.nan)),
        "HD95 (mm)": lambda one: number(one.metrics.get("test_hd95_mm", math.nan), digits=1),
        "member": lambda one: f"member_{one.chosen}" if one.chosen is not None and one.num_members > 1 else "–",
        "time": lambda one: duration(one.total_seconds),
    }
    for stage in dict.fromkeys(name for one in run.rounds for name in one.seconds if name):
        columns[stage] = lambda one, stage=stage: duration(one.seconds.get(stage, math.nan))
    cells = {name: [cell(one) for one in run.rounds] for name, cell in columns.items()}
    used = {name: column for name, column in cells.items() if name == "Round" or set(column) != {"–"}}
    return Table(tuple(used), tuple(zip(*used.values(), strict=True)), css="numbers volumes many")


def class_table(run: Run) -> Table | None:
    """Returns every metric of every class, a column per round; None if nothing was scored per class."""
    rounds = [one for one in run.rounds if one.per_structure]
    if not rounds:
        return None
    in_order = [name for one in rounds if len(one.scores) for name in one.scores["structure"]]  # JSON is sorted by name
    used = {name: None for one in rounds for name in one.per_structure}
    names = list(dict.fromkeys([*(name for name in in_order if name in used), *used]))
    present = {metric for one in rounds for row in one.per_structure.values() for metric in row}
    rows, rules = [], set()
    for metric, (title, digits) in METRICS.items():
        if metric not in present:
            continue
        rules |= {len(rows)} if rows else set()
        for name in names:
            values = (one.per_structure.get(name, {}).get(metric, math.nan) for one in rounds)
            rows.append((f"{title} {structure_name(name)}", *(number(value, digits=digits) for value in values)))
    header = ("", *(f"{one.number} ({percent(one.fraction)})" for one in rounds))
    return Table(header, tuple(rows), rules=frozenset(rules))


def volume_table(one: Round) -> Table | None:
    """Returns Dice and mean HD95 of every volume after a round, a column per class; None without such a table."""
    if not len(one.scores):
        return None
    names = list(one.scores["structure"].unique())
    found = one.scores.pivot_table(index="case_id", columns=["metric", "structure"], values="value", dropna=False)
    dice = found["dice"].reindex(columns=names) if "dice" in found else pd.DataFrame(index=found.index, columns=names)
    shown = [*(dice[name].map(number) for name in names), dice.mean(axis=1).map(number)]
    has_distance = "hd95_mm" in found.columns.get_level_values("metric")
    if has_distance:
        shown.append(found["hd95_mm"].mean(axis=1).map(lambda value: number(value, digits=1)))
    where = {"test": "Test volume", "val": "Validation volume"}[one.score_set]
    header = (where, *map(structure_name, names), MEAN, *(["HD95 (mm)"] if has_distance else []))
    return Table(header, tuple(zip(found.index, *shown, strict=True)), css="numbers volumes")
