"""Tables of trainings: results, comparison with the baseline, test volumes, and what one must know to read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from fewslice.core import done
from fewslice.core.errors import plural
from fewslice.report.reading.methods import Method, by_setup
from fewslice.report.reading.runs import VALIDATION
from fewslice.report.tables import statistics as stats
from fewslice.report.tables.table import (
    MEAN,
    METRICS,
    MOST_COLUMNS,
    Table,
    duration,
    highest,
    number,
    plus_minus,
    structure_name,
    unique_text,
)

_SHOWN = ("dice", "hd95_mm", "assd_mm", "nsd")


def scored_of(methods: Sequence[Method]) -> list[Method]:
    """Returns the methods that were evaluated on test volumes."""
    return [method for method in methods if method.has_scores]


def needs_overview(methods: Sequence[Method]) -> bool:
    """Whether there are several splits or so many methods that one wants to see them together first."""
    scored = scored_of(methods)
    return bool(scored) and (len(by_setup(scored)) > 1 or len(scored) > MOST_COLUMNS)


def result_tables(methods: Sequence[Method]) -> list[Table]:
    """Returns mean ± deviation over seeds: up to five methods side by side, more as rows of a table per metric."""
    scored = scored_of(methods)
    if not scored:
        return []
    spread, labels = stats.over_seeds(stats.means(scored)), [method.label for method in scored]
    names, is_many = [*stats.structures(scored), MEAN], len(scored) > MOST_COLUMNS
    tables, lines, best, rules = [], [], set(), set()
    for metric in [name for name in _SHOWN if name in spread.mean.columns.get_level_values("metric")]:
        title, digits = METRICS[metric]
        mean, width = (frame[metric].reindex(labels, columns=names) for frame in (spread.mean, spread.deviation))
        texts = [
            [plus_minus(*cell, digits=digits) for cell in zip(mean.loc[label], width.loc[label], strict=True)]
            for label in labels
        ]
        sign = 1 if metric in ("dice", "nsd") else -1
        tops = [(row, column) for column, name in enumerate(names) for row in highest(list(sign * mean[name]))]
        if is_many:
            rows = tuple(
                (f"{n}  {label}", *row) for n, (label, row) in enumerate(zip(labels, texts, strict=True), start=1)
            )
            marks = frozenset((row, column + 1) for row, column in tops)
            tables.append(Table((title, *map(structure_name, names)), rows, marks, css="numbers methods"))
            continue
        rules |= {len(lines)} if lines else set()
        best |= {(len(lines) + column, row + 1) for row, column in tops}
        lines += [
            (f"{title} {structure_name(names[column])}", *row) for column, row in enumerate(zip(*texts, strict=True))
        ]
    return tables if is_many else [Table(("", *labels), tuple(lines), frozenset(best), frozenset(rules))]


def comparison_table(methods: Sequence[Method]) -> Table | None:
    """Returns each method's difference from the baseline with what may be said of it; None without one baseline."""
    scored = scored_of(methods)
    baseline = stats.the_baseline(scored)
    others = [method for method in scored if method is not baseline]
    if baseline is None or not others:
        return None
    dice, mean, rows = stats.volume_dice(scored), stats.mean_dice(scored), []
    for method in others:
        label, steps = method.label, method.runs[0].config.get("n_iter")
        if method.runs[0].config.get("teacher_sha256") and steps != baseline.runs[0].config.get("n_iter"):
            label += f" (after {steps} further steps)"
        if not method.is_comparable(baseline):
            rows.append((label, number(mean[method.label]), "", "", "", "", "other number of steps: not compared"))
            continue
        pair = stats.difference(dice, method.label, baseline.label)
        better = f"{(pair.by_volume > 0).sum()} of {len(pair.by_volume)}"
        numbers = (number(pair.mean, signed=True), number(pair.standard_error), better, str(len(pair.by_seed) or "–"))
        rows.append((label, number(mean[method.label]), *numbers, pair.verdict))
    first = (baseline.label, number(mean[baseline.label]), "", "", "", "", "")
    header = ("", "mean Dice", "Δ baseline", "st. error", "better on", "seeds", "verdict")
    marks = {(row, 6) for row, cells in enumerate(rows, 1) if cells[-1] in ("better", "worse")}
    return Table(header, (first, *rows), frozenset(marks), css="numbers methods")


def volume_table(methods: Sequence[Method]) -> Table | None:
    """Returns mean Dice per test volume and the differences from the baseline; None without scores.

    Of many methods that can be compared with the baseline, only the differences are shown.
    """
    scored = scored_of(methods)
    if not scored:
        return None
    baseline, is_many = stats.the_baseline(scored), len(scored) > MOST_COLUMNS
    others = stats.comparable(scored)
    dice = stats.volume_dice(scored)
    means = dice.groupby(level=["method", "case_id"], sort=False).mean()
    place, cells = {method: str(n) for n, method in enumerate(scored, 1)}, {}
    for method in scored:
        if not (is_many and method in others):
            cells[method.label, place[method]] = means.loc[method.label].map(number)
    for method in others:
        found = stats.difference(dice, method.label, baseline.label).by_volume
        cells[f"Δ {_uncapitalised(method.label)}", f"Δ {place[method]}"] = found.map(lambda x: number(x, signed=True))
    table = pd.DataFrame(cells).sort_index().fillna("–")
    rows = tuple((case, *row) for case, row in zip(table.index, table.itertuples(index=False), strict=True))
    headers = [("Volume", *(names[n] for names in cells)) for n in (0, 1)]
    css = "numbers volumes many" if is_many else "numbers volumes"
    return Table(headers[0], rows, short=headers[1] if is_many else (), css=css)


def _uncapitalised(label: str) -> str:
    """Returns a label without the capital of its first word, unless that is a name such as UniMatch."""
    return label[:1].lower() + label[1:] if label.split(" ")[0][1:].islower() else label


def overview_table(methods: Sequence[Method]) -> Table:
    """Returns mean Dice and its difference from the baseline, a row per method, two columns per labelled split."""
    scored = scored_of(methods)
    labels, header, best = list(dict.fromkeys(method.label for method in scored)), ["Mean Dice"], set()
    columns = [labels]
    for same in by_setup(scored).values():
        spread, dice = stats.over_seeds(stats.means(same)), stats.volume_dice(same)
        mean, width = (frame["dice", MEAN].reindex(labels) for frame in (spread.mean, spread.deviation))
        own = {method.label for method in same}
        gains = {
            m.label: stats.difference(dice, m.label, stats.the_baseline(same).label) for m in stats.comparable(same)
        }
        best |= {(row, len(header)) for row in highest(list(mean))}
        header += [same[0].runs[0].split, "Δ baseline"]
        columns.append([plus_minus(mean[label], width[label]) if label in own else "" for label in labels])
        columns.append([number(gains[label].mean, signed=True) if label in gains else "" for label in labels])
    return Table(tuple(header), tuple(zip(*columns, strict=True)), frozenset(best), css="numbers methods")


def facts(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Returns names and values of the provenance: dataset, split, budget, seeds, steps, volumes."""
    scored = scored_of(methods) or list(methods)
    runs, table = [run for method in scored for run in method.runs], stats.scores(scored)
    patients = set(table["patient_id"]) - {""} if len(table) else set()
    tested = plural(table["case_id"].nunique(), "volume") + (f" of {plural(len(patients), 'patient')}" * bool(patients))
    noted = table[table["note"].str.startswith("absent")] if len(table) else table
    empty = dict.fromkeys(f"{row.case_id} {row.structure}: {row.note}" for row in noted.itertuples())
    missing = [name for method in scored for name in method.unrecorded]
    return [
        ("Dataset", unique_text(run.dataset for run in runs)),
        ("Labelled split", unique_text(run.split for run in runs)),
        ("Unit of budget", unique_text(run.unit for run in runs)),
        ("Seeds", unique_text(sorted({run.seed for run in runs}))),
        ("Training steps", unique_text(run.config.get("n_iter", "?") for run in runs)),
        ("Tested on", tested if len(table) else "nothing yet"),
        ("Empty classes", f"{len(empty)}: {unique_text(empty, limit=4)}" if empty else "none"),
        ("Configuration", unique_text((run.digest for run in runs), limit=6)),
        *([("Not recorded", f"{unique_text(missing)} by older runs")] if missing else []),
    ]


def runs_table(methods: Sequence[Method]) -> Table:
    """Returns a row per run: split, seed, steps, training time, Dice of the weights that count and the last, digest."""
    dice = {"Val Dice": VALIDATION, "Test Dice": done.TESTED, "... of the last step": done.TESTED_LAST}
    runs = [(method.label, run) for method in methods for run in method.runs]
    dice = {title: name for title, name in dice.items() if any(run.record.get(name) is not None for _, run in runs)}
    rows = []
    for label, run in runs:
        numbers = (run.record.get(name) for name in dice.values())
        numbers = (number(math.nan if value is None else value) for value in numbers)
        steps = str(run.config.get("n_iter", "?"))
        rows.append((label, run.split, str(run.seed), steps, duration(run.seconds), *numbers, run.digest))
    return Table(("Run", "Split", "Seed", "Steps", "Training time", *dice, "Digest"), tuple(rows), css="")
