"""The comparison as text for the terminal, and the facts that one must know to read it."""

from __future__ import annotations

from collections.abc import Sequence

from fewslice.report.figures.overview import needs_overview, overview_table
from fewslice.report.reading.methods import Method, by_split
from fewslice.report.reading.settings import unrecorded
from fewslice.report.reading.titles import named_split
from fewslice.report.tables.findings import finding
from fewslice.report.tables.result_tables import difference_table, result_tables
from fewslice.report.tables.statistics import empty_classes


def facts(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Returns what one must know to read the numbers: dataset, split, budget, seeds, steps, volumes."""
    scored = [method for method in methods if method.has_scores] or list(methods)
    runs = [run for method in scored for run in method.runs]
    volumes = {score.case_id for run in runs for score in run.scores}
    patients = {score.patient_id for run in runs for score in run.scores} - {""}
    test = f"{len(volumes)} volumes of {len(patients)} patients" if patients else f"{len(volumes)} volumes"
    empty = list(dict.fromkeys(text for method in scored for text in empty_classes(method)))
    missing = [name for method in scored for name in unrecorded(method.runs)]
    return [
        ("Dataset", _listed(run.dataset for run in runs)),
        ("Labelled split", _listed(named_split(run) for run in runs)),
        ("Unit of budget", _listed(run.config.get("budget_unit") or "labelled volumes" for run in runs)),
        ("Seeds", _listed(sorted({run.seed for run in runs}))),
        ("Training steps", _listed(run.config.get("n_iter", "?") for run in runs)),
        ("Tested on", test if volumes else "nothing yet"),
        ("Empty classes", f"{len(empty)}: {_listed(empty, limit=4)}" if empty else "none"),
        ("Configuration", _listed((run.digest for run in runs), limit=6)),
        *([("Not recorded", f"{_listed(missing)} by older runs")] if missing else []),
    ]


def _listed(values, *, limit: int = 8) -> str:
    texts = list(dict.fromkeys(str(value) for value in values))
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more or "–"


def text_report(methods: Sequence[Method]) -> str:
    """Returns what the terminal shows of a comparison: facts, tables, finding and differences per labelled split."""
    parts = ["\n".join(f"{name + ':':16}{value}" for name, value in facts(methods))]
    segmenting = [method for method in methods if not method.runs[0].is_contrastive]
    splits = by_split(segmenting)
    if needs_overview(segmenting) and len(splits) > 1:
        parts.append(overview_table(segmenting).text())
    for name, same in splits.items() or {"": list(methods)}.items():
        if len(splits) > 1:
            parts.append(f"Labelled split {name}\n{'=' * len(f'Labelled split {name}')}")
        parts += _text_of_split(same)
    return "\n\n".join(parts)


def _text_of_split(methods: Sequence[Method]) -> list[str]:
    has_scores = any(method.has_scores for method in methods)
    parts = [table.text() for table in result_tables(methods)] if has_scores else []
    parts.append("\n".join(finding(methods)))
    differences = difference_table(methods)
    return parts if differences is None else [*parts, differences.text()]
