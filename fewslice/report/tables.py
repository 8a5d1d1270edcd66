"""Tables of results as text for the terminal and as HTML for the report, made from the same cells."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fewslice.report.methods import Method
from fewslice.report.runs import Run
from fewslice.report.statistics import (
    MEAN,
    Cell,
    cell,
    empty_classes,
    is_comparable,
    number,
    paired_difference,
    structures,
    volume_means,
)

METRICS = {"dice": ("Dice", 3), "hd95_mm": ("HD95 (mm)", 1),
           "assd_mm": ("ASSD (mm)", 2)}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of plain text under a header; the first column names the row, the others are numbers.

    `best` holds (row, column) pairs to emphasise, `rules` the rows above which a line is drawn.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    rules: frozenset[int] = frozenset()

    def text(self) -> str:
        """Returns the table with aligned columns."""
        widths = [max(len(row[i]) for row in (self.header, *self.rows)) for i in range(len(self.header))]
        lines = [self._line(self.header, widths), "  ".join("-" * width for width in widths)]
        lines += [self._line(row, widths) for row in self.rows]
        return "\n".join(lines)

    @staticmethod
    def _line(row: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            row[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)),
        ]
        return "  ".join(cells).rstrip()

    def html(self, *, css: str = "") -> str:
        """Returns the table as HTML with every text escaped. `css`: name of its class."""
        head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in self.header)
        body = []
        for index, row in enumerate(self.rows):
            cells = "".join(
                f"<td{' class=best' if (index, column) in self.best else ''}>{html.escape(text)}</td>"
                for column, text in enumerate(row[1:], start=1)
            )
            rule = ' class="rule"' if index in self.rules else ""
            body.append(f'<tr{rule}><th scope="row">{html.escape(row[0])}</th>{cells}</tr>')
        return (
            f'<div class="scroll"><table class="{html.escape(css)}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )


def result_table(methods: Sequence[Method]) -> Table:
    """Returns Dice per structure and on average, then HD95 and ASSD, a column per method; ± over seeds."""
    scored = [method for method in methods if method.has_scores]
    names = structures(scored)
    present = {score.metric for method in scored for run in method.runs for score in run.scores}
    rows, best, rules = [], set(), set()
    for metric, (title, _) in METRICS.items():
        if metric not in present:
            continue
        if rows:
            rules.add(len(rows))
        for structure in (*names, MEAN):
            cells = [cell(method, metric, structure) for method in scored]
            row = len(rows)
            rows.append(
                (
                    f"{title} {structure.upper() if structure != MEAN else MEAN}",
                    *(_show(c, metric) for c in cells),
                )
            )
            best |= {(row, column + 1) for column in _best(cells, metric)}
    return Table(("", *(method.label for method in scored)), tuple(rows), frozenset(best), frozenset(rules))


def _show(value: Cell, metric: str) -> str:
    style = {"digits": METRICS[metric][1], "unit": metric != "dice"}
    text = number(value.value, **style)
    if math.isfinite(value.sd_seeds):
        text += f" ± {number(value.sd_seeds, **style)}"
    return text


def _best(cells: Sequence[Cell], metric: str) -> list[int]:
    values = [c.value if metric == "dice" else -c.value for c in cells]
    finite = [value for value in values if math.isfinite(value)]
    if len(cells) < 2 or len(finite) < 2:
        return []
    top = max(finite)
    return [index for index, value in enumerate(values) if value == top] if min(finite) < top else []


def difference_table(methods: Sequence[Method]) -> Table | None:
    """Returns mean Dice per test volume and the differences from the baseline; None without scores."""
    scored = [method for method in methods if method.has_scores]
    if not scored:
        return None
    baselines = [method for method in scored if method.is_baseline]
    baseline = baselines[0] if len(baselines) == 1 else None  # of several, none is the right one for all others
    others = [m for m in scored if baseline is not None and m is not baseline and is_comparable(m, baseline)]
    means = [volume_means(method) for method in scored]
    pairs = [paired_difference(method, baseline) for method in others]
    cases = sorted(set().union(*means))
    header = [
        "Volume",
        *(method.label for method in scored),
        *(f"Δ {_short(method.label)}" for method in others),
    ]
    rows = [
        (case, *(number(mean.get(case, math.nan)) for mean in means),
         *(number(pair.by_volume.get(case, math.nan), signed=True) for pair in pairs))
        for case in cases
    ]  # fmt: skip
    if pairs:
        blank = [""] * len(scored)
        rows.append(("mean difference", *blank, *(number(pair.mean, signed=True) for pair in pairs)))
        rows.append(("standard error", *blank, *(number(pair.standard_error) for pair in pairs)))
        rows.append(("better on", *blank, *(f"{pair.num_better} of {len(pair.by_volume)}" for pair in pairs)))
    return Table(tuple(header), tuple(rows), rules=frozenset({len(cases)} if pairs else ()))


def _short(label: str) -> str:
    """Returns a label without the capital of its first word, unless that is a name such as UniMatch."""
    return label[:1].lower() + label[1:] if label.split(" ")[0][1:].islower() else label


def facts(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Returns what one must know to read the numbers: dataset, split, budget, seeds, steps, volumes."""
    scored = [method for method in methods if method.has_scores] or list(methods)
    runs = [run for method in scored for run in method.runs]
    volumes = {score.case_id for run in runs for score in run.scores}
    patients = {score.patient_id for run in runs for score in run.scores} - {""}
    test = f"{len(volumes)} volumes of {len(patients)} patients" if patients else f"{len(volumes)} volumes"
    empty = list(dict.fromkeys(text for method in scored for text in empty_classes(method)))
    result = [
        ("Dataset", _listed(run.dataset for run in runs)),
        ("Labelled split", _listed(_split(run) for run in runs)),
        ("Unit of budget", _listed(run.config.get("budget_unit") or "labelled volumes" for run in runs)),
        ("Seeds", _listed(sorted({run.seed for run in runs}))),
        ("Training steps", _listed(run.config.get("n_iter", "?") for run in runs)),
        ("Tested on", test if volumes else "nothing yet"),
        ("Empty classes", f"{len(empty)}: {_listed(empty, limit=4)}" if empty else "none"),
        ("Configuration", _listed((run.digest for run in runs), limit=6)),
    ]
    return result


def _split(run: Run) -> str:
    parts = [str(run.config[name]) for name in ("no_of_tr_imgs", "comb_tr_imgs") if run.config.get(name)]
    return " ".join(parts) or "?"


def _listed(values, *, limit: int = 8) -> str:
    texts = list(dict.fromkeys(str(value) for value in values))
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more or "–"


def text_report(methods: Sequence[Method]) -> str:
    """Returns what the terminal shows of a comparison: facts, table, finding, differences per volume."""
    from fewslice.report.statistics import finding

    parts = ["\n".join(f"{name + ':':16}{value}" for name, value in facts(methods))]
    if any(method.has_scores for method in methods):
        parts.append(result_table(methods).text())
    parts.append("\n".join(finding(methods)))
    differences = difference_table(methods)
    if differences is not None:
        parts.append(differences.text())
    return "\n\n".join(parts)
