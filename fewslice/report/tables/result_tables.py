"""Tables of results as text for the terminal and as HTML for the report, made from the same cells."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fewslice.report.reading.methods import Method
from fewslice.report.tables.statistics import (
    MEAN,
    Cell,
    cell,
    is_comparable,
    number,
    paired_difference,
    structures,
    volume_means,
)

MOST_COLUMNS = 5  # more methods than this are rows instead of columns
METRICS = {"dice": ("Dice", 3), "hd95_mm": ("HD95 (mm)", 1),
           "assd_mm": ("ASSD (mm)", 2)}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of plain text under a header; the first column names the row, the others are numbers.

    `best` holds (row, column) pairs to emphasise, `rules` the rows above which a line is drawn. `short` is a header
    for the terminal, where the other would be too wide.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    rules: frozenset[int] = frozenset()
    short: tuple[str, ...] = ()

    def text(self) -> str:
        """Returns the table with aligned columns."""
        header = self.short or self.header
        widths = [max(len(row[i]) for row in (header, *self.rows)) for i in range(len(header))]
        lines = [self._line(header, widths), "  ".join("-" * width for width in widths)]
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


def result_tables(methods: Sequence[Method]) -> list[Table]:
    """Returns the results: up to five methods side by side in one table, more as rows of a table per metric."""
    scored = [method for method in methods if method.has_scores]
    if len(scored) <= MOST_COLUMNS:
        return [result_table(scored)]
    present = {score.metric for method in scored for run in method.runs for score in run.scores}
    return [_metric_table(scored, metric) for metric in METRICS if metric in present]


def _metric_table(scored: Sequence[Method], metric: str) -> Table:
    """Returns one metric, a numbered row per method; of the Dice also how it differs from the baseline's."""
    names = (*structures(scored), MEAN)
    cells = [[cell(method, metric, structure) for structure in names] for method in scored]
    best = {(row, column + 1) for column in range(len(names)) for row in _best([r[column] for r in cells], metric)}
    rows = [(name, *(_show(c, metric) for c in row)) for name, row in zip(_numbered(scored), cells, strict=True)]
    header = (METRICS[metric][0], *(name.upper() if name != MEAN else MEAN for name in names))
    baseline = _the_baseline(scored)
    if metric == "dice" and baseline is not None:
        header += ("Δ baseline", "st. error", "better on")
        rows = [(*row, *_against(method, baseline)) for row, method in zip(rows, scored, strict=True)]
    return Table(header, tuple(rows), frozenset(best))


def _against(method: Method, baseline: Method) -> tuple[str, str, str]:
    if method is baseline or not is_comparable(method, baseline):
        return "", "", ""
    pair = paired_difference(method, baseline)
    better = f"{pair.num_better} of {len(pair.by_volume)}"
    return number(pair.mean, signed=True), number(pair.standard_error), better


def _numbered(scored: Sequence[Method]) -> list[str]:
    return [f"{index}  {method.label}" for index, method in enumerate(scored, start=1)]


def _the_baseline(scored: Sequence[Method]) -> Method | None:
    """Returns the baseline; None if there are several, none of which is the right one for all others."""
    baselines = [method for method in scored if method.is_baseline]
    return baselines[0] if len(baselines) == 1 else None


def shown_mean(method: Method, metric: str, structure: str) -> str:
    """Returns a mean as tables show it, ± its deviation over seeds."""
    return _show(cell(method, metric, structure), metric)


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
    """Returns mean Dice per test volume and the differences from the baseline; None without scores.

    Of many methods that can be compared with the baseline, only the differences are shown.
    """
    scored = [method for method in methods if method.has_scores]
    if not scored:
        return None
    baseline, is_many = _the_baseline(scored), len(scored) > MOST_COLUMNS
    others = [m for m in scored if baseline is not None and m is not baseline and is_comparable(m, baseline)]
    plain = [method for method in scored if not (is_many and method in others)]
    means = [volume_means(method) for method in plain]
    pairs = [paired_difference(method, baseline) for method in others]
    cases = sorted(set().union(*means, *(pair.by_volume for pair in pairs)))
    rows = [
        (case, *(number(mean.get(case, math.nan)) for mean in means),
         *(number(pair.by_volume.get(case, math.nan), signed=True) for pair in pairs))
        for case in cases
    ]  # fmt: skip
    if pairs:
        blank = [""] * len(plain)
        rows.append(("mean difference", *blank, *(number(pair.mean, signed=True) for pair in pairs)))
        rows.append(("standard error", *blank, *(number(pair.standard_error) for pair in pairs)))
        rows.append(("better on", *blank, *(f"{pair.num_better} of {len(pair.by_volume)}" for pair in pairs)))
    header = ("Volume", *(method.label for method in plain), *(f"Δ {_short(method.label)}" for method in others))
    place = {method: index for index, method in enumerate(scored, start=1)}
    short = ("Volume", *(f"{place[method]}" for method in plain), *(f"Δ {place[method]}" for method in others))
    rules = frozenset({len(cases)} if pairs else ())
    return Table(header, tuple(rows), rules=rules, short=short if is_many else ())


def _short(label: str) -> str:
    """Returns a label without the capital of its first word, unless that is a name such as UniMatch."""
    return label[:1].lower() + label[1:] if label.split(" ")[0][1:].islower() else label
