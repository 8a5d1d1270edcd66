"""One experiment in full: its rounds, Dice per class and volume, pictures of what was bought, all numbers as rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fewslice.core.console import duration
from fewslice.report.pages import page
from fewslice.report.reading.experiment_methods import ExperimentMethod
from fewslice.report.reading.experiment_rounds import Round
from fewslice.report.reading.experiments import Experiment
from fewslice.report.tables.budget_tables import percent
from fewslice.report.tables.result_tables import METRICS, Table
from fewslice.report.tables.statistics import MEAN, number

RESULT_COLUMNS = (
    "experiment", "method", "setup", "strategy", "seed", "round", "fraction", "units", "annotated_pixels", "member",
    "set", "structure", "metric", "value",
)  # fmt: skip
HD95_VOXELS = "hd95_voxels"
_TITLES = {**METRICS, HD95_VOXELS: ("HD95 (voxels)", 1)}


def result_rows(methods: Sequence[ExperimentMethod]) -> list[dict[str, Any]]:
    """Returns the rows of results.csv, one per experiment, round, structure and metric; NaN where undefined."""
    rows = []
    for method in methods:
        for one in method.experiments:
            head = {"experiment": one.path.name, "method": method.label, "setup": method.setup}
            head |= {"strategy": one.strategy, "seed": one.seed}
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
    where = "test" if math.isfinite(one.metrics.get("test_dice", math.nan)) else "val"
    for structure, values in one.per_structure.items():
        rows += [{"set": where, "structure": structure, "metric": m, "value": v} for m, v in values.items()]
    if one.seconds:
        rows.append({"set": "", "structure": "", "metric": "seconds", "value": one.total_seconds})
    return rows


def rounds_table(experiment: Experiment) -> Table:
    """Returns a row per round: what was bought, how good the networks are, how long it took."""
    stages = list(dict.fromkeys(name for one in experiment.rounds for name in one.seconds if name))
    header = ("Round", "budget", "slices", "new", "patients", "bought by", "pixels", "val Dice", "test Dice",
              "HD95 (mm)", "member", "time", *stages)  # fmt: skip
    columns = [_round_cells(one) + tuple(_time(one.seconds.get(name)) for name in stages) for one in experiment.rounds]
    used = [i for i in range(len(header)) if i == 0 or any(row[i] not in ("", "–") for row in columns)]
    rows = tuple(tuple(row[i] for i in used) for row in columns)
    return Table(tuple(header[i] for i in used), rows)


def _round_cells(one: Round) -> tuple[str, ...]:
    dice = {name: number(one.metrics.get(name, math.nan)) for name in ("val_dice", "test_dice")}
    if one.is_skipped:
        dice["val_dice"] = "not trained"
    return (
        str(one.number),
        percent(one.fraction) if math.isfinite(one.fraction) else "–",
        _count(one.units),
        str(len(one.picks)) if one.picks else "–",
        str(len({pick.patient for pick in one.picks})) if one.picks else "–",
        one.strategy or "–",
        _count(one.annotated_pixels),
        dice["val_dice"],
        dice["test_dice"],
        number(one.metrics.get("test_hd95_mm", math.nan), digits=1, unit=True),
        f"member_{one.chosen}" if one.chosen is not None and one.num_members > 1 else "–",
        _time(one.total_seconds),
    )


def _count(value: float) -> str:
    return f"{int(value):,}".replace(",", " ") if math.isfinite(value) else "–"


def _time(seconds: float | None) -> str:
    return duration(seconds) if seconds is not None and math.isfinite(seconds) else "–"


def class_table(experiment: Experiment) -> Table | None:
    """Returns every metric of every class, a column per round; None if nothing was scored per class."""
    rounds = [one for one in experiment.rounds if one.per_structure]
    if not rounds:
        return None
    in_order = [score.structure for one in rounds for score in one.scores]  # JSON files are sorted by name
    used = {name: None for one in rounds for name in one.per_structure}
    names = list(dict.fromkeys([*(name for name in in_order if name in used), *used]))
    present = {metric for one in rounds for row in one.per_structure.values() for metric in row}
    rows, rules = [], set()
    for metric, (title, digits) in _TITLES.items():
        if metric not in present:
            continue
        rules |= {len(rows)} if rows else set()
        for name in names:
            values = [one.per_structure.get(name, {}).get(metric, math.nan) for one in rounds]
            shown = (number(value, digits=digits, unit=metric != "dice") for value in values)
            rows.append((f"{title} {name.upper()}", *shown))
    header = ("", *(f"{one.number} ({percent(one.fraction)})" for one in rounds))
    return Table(header, tuple(rows), rules=frozenset(rules))


def volume_table(one: Round) -> Table | None:
    """Returns Dice and mean HD95 of every volume after a round, a column per class; None without such a table."""
    names = list(dict.fromkeys(score.structure for score in one.scores))
    found: dict[str, dict[tuple[str, str], float]] = {}
    for score in one.scores:
        found.setdefault(score.case_id, {})[score.metric, score.structure] = score.value
    if not found:
        return None
    has_distance = any(("hd95_mm", name) in cells for cells in found.values() for name in names)
    rows = []
    for case in sorted(found):
        dice = [found[case].get(("dice", name), math.nan) for name in names]
        distance = [found[case].get(("hd95_mm", name), math.nan) for name in names]
        row = (case, *(number(value) for value in dice), number(_mean(dice)))
        rows.append((*row, number(_mean(distance), digits=1, unit=True)) if has_distance else row)
    where = {"test": "Test volume", "val": "Validation volume"}[one.score_set]
    header = (where, *(name.upper() for name in names), MEAN, *(["HD95 (mm)"] if has_distance else []))
    return Table(header, tuple(rows))


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if math.isfinite(value)]
    return float(np.mean(defined)) if defined else math.nan


def experiment_html(experiment: Experiment, *, with_pictures: bool) -> str:
    """Returns everything about one experiment as HTML.

    Args:
        experiment: The experiment.
        with_pictures: Whether the galleries stand in the page; otherwise their folder is named.
    """
    parts = [page.paragraphs([f"Folder: {experiment.path}"], "note")]
    if experiment.rounds:
        parts.append(rounds_table(experiment).html(css="numbers volumes many"))
    classes = class_table(experiment)
    if classes is not None:
        parts += ["<h3>Per class, round by round</h3>", classes.html(css="numbers")]
    parts += [_round_html(one, with_pictures=with_pictures) for one in experiment.rounds]
    return f'<div style="margin-left:1.1rem">{"".join(parts)}</div>'


def _round_html(one: Round, *, with_pictures: bool) -> str:
    parts = []
    if one.gallery is not None and with_pictures:
        caption = "What was bought in this round, in the order of choice, with its annotation. "
        caption += "A number below a name is what the strategy found in that slice then: `value` of query.csv."
        parts.append(page.picture(one.gallery, alt=f"Slices bought in round {one.number}", caption=caption))
    elif one.gallery is not None:
        parts.append(page.paragraphs([f"The picture of what was bought: {one.gallery}"], "note"))
    if one.picks:
        listed = ", ".join(pick.unit_id for pick in one.picks)
        parts.append(page.folded(f"Names of the {len(one.picks)} slices", page.paragraphs([listed], "note")))
    volumes = volume_table(one)
    if volumes is not None:
        parts.append(volumes.html(css="numbers volumes"))
    if not parts:
        return ""
    budget = f", {percent(one.fraction)}" if math.isfinite(one.fraction) else ""
    return page.folded(f"Round {one.number}{budget}: pictures and volumes", "".join(parts))
