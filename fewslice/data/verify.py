"""Checks every file of a dataset and lists everything that is wrong, instead of stopping at the first."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewslice.core.errors import DataError
from fewslice.core.parallel import map_threads
from fewslice.core.progress import Progress
from fewslice.data.readers import Reader
from fewslice.data.readers.selection import few, patient_names
from fewslice.data.volume import Case, Volume

_NOTES_SHOWN = 20
_WRONG_SHARE = 0.01  # of scribbled pixels; annotators cross borders here and there


@dataclass(frozen=True)
class Problem:
    """Something that must be mended.

    Attributes:
        case_id: The volume.
        path: The file or folder.
        message: File, expected, found, remedy.
    """

    case_id: str
    path: Path
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass
class Findings:
    """Findings of the check of a dataset.

    Attributes:
        problems: What must be mended, in the order of the cases.
        notes: What is worth knowing, in words.
        shapes, spacings_mm: Of the volumes that could be read.
        voxels: Class -> number of voxels in all labels.
        labelled: Number of volumes with a label.
        scribbled: Number of volumes with scribbles.
        annotated: (annotated, all) pixels of their scribbles.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    spacings_mm: list[tuple[float, ...]] = field(default_factory=list)
    voxels: dict[int, int] = field(default_factory=dict)
    labelled: int = 0
    scribbled: int = 0
    annotated: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Facts:
    """Facts kept of a volume after it was read."""

    content: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    counts: tuple[int, ...]  # voxels per class; empty without a label
    annotated: int  # pixels with a scribble; -1 without scribbles
    notes: tuple[str, ...]


def verify_dataset(
    reader: Reader, cases: Sequence[Case], *, workers: int | None = None, progress: bool = False
) -> list[Problem]:
    """Returns every problem of the given cases; none if all files are sound. See `examine_dataset`."""
    return examine_dataset(reader, cases, workers=workers, progress=progress).problems


def examine_dataset(
    reader: Reader, cases: Sequence[Case], *, workers: int | None = None, progress: bool = False
) -> Findings:
    """Reads every image and label of the given cases.

    Problems are files that are missing, unreadable or inconsistent, images that occur twice, and patients
    whose names differ in case or leading zeros only. Volumes without a label are no problem.

    Args:
        reader: Reads the volumes.
        cases: What to check.
        workers: Volumes read at a time; default the number of processors.
        progress: Show a progress line.
    """
    results: dict[int, _Facts | list[DataError]] = {}
    with Progress(len(cases), f"Checking {reader.dataset.name}", is_enabled=progress) as line:
        work = _Examiner(reader)
        for index, result in map_threads(work, cases, workers=workers):
            results[index] = result
            line.update(note=cases[index].case_id)
    findings = Findings(notes=list(reader.notes))
    facts: list[tuple[Case, _Facts]] = []
    for index, case in enumerate(cases):
        result = results[index]
        if isinstance(result, list):
            findings.problems += [Problem(case.case_id, Path(error.path), str(error)) for error in result]
        else:
            facts.append((case, result))
    _summarise(reader, facts, findings)
    findings.problems += _duplicates(facts) + _similar_patients(reader, cases)
    return findings


def missing_patients(reader: Reader) -> list[Problem]:
    """Returns one problem that names all patients of the split lists without a volume; none if all are there."""
    listed, missing = _listed_and_missing(reader)
    if not missing:
        return []
    lists = f"data_cfg_{reader.dataset.name}.py"
    remedy = f"Add the missing ones, or take them out of the lists. {reader.dataset.how_to_get}"
    error = DataError(
        reader.folder,
        expected=f"the {len(listed)} patients of {lists} ({reader.expects})",
        found=f"no volume of {len(missing)}: {few(missing)}",
        remedy=remedy.strip(),
    )
    return [Problem("", reader.folder, str(error))]


class _Examiner:
    def __init__(self, reader: Reader):
        self._reader = reader

    def __call__(self, case: Case) -> _Facts | list[DataError]:
        with_scribble = True if self._reader.has_scribble(case) else None
        has_label = case.label_path is not None
        volume, problems = self._reader.examine(case, with_label=has_label, with_scribble=with_scribble)
        return problems if volume is None else _facts(volume, self._reader.dataset.num_classes)


def _facts(volume: Volume, num_classes: int) -> _Facts:
    notes = list(volume.notes)
    counts = ()
    if volume.image.min() == volume.image.max():
        notes.append(f"the image is constant ({volume.image.flat[0]:g})")
    if volume.label is not None:
        counts = tuple(np.bincount(volume.label.ravel(), minlength=num_classes).tolist())
        notes += [] if sum(counts[1:]) else ["the label is empty"]
    annotated = -1
    if volume.scribble is not None:
        annotated = int((volume.scribble < num_classes).sum())
        notes += [] if annotated else ["the scribbles are empty"]
        if volume.label is not None:
            wrong = int(((volume.scribble != volume.label) & (volume.scribble < num_classes)).sum())
            if wrong > _WRONG_SHARE * annotated:
                notes.append(f"{wrong} of {annotated} scribbled pixels have another class than the label")
    content = hashlib.sha256(np.ascontiguousarray(volume.image)).hexdigest() + str(volume.image.shape)
    return _Facts(content, volume.image.shape[:3], volume.spacing_mm, counts, annotated, tuple(notes))


def _summarise(reader: Reader, facts: list[tuple[Case, _Facts]], findings: Findings) -> None:
    names = ("background", *reader.dataset.struct_name)
    findings.voxels = dict.fromkeys(range(len(names)), 0)
    for case, fact in facts:
        findings.notes += [f"{case.case_id}: {note}" for note in fact.notes]
        findings.shapes.append(fact.shape)
        findings.spacings_mm.append(fact.spacing_mm)
        findings.labelled += bool(fact.counts)
        if fact.annotated >= 0:
            findings.scribbled += 1
            annotated, pixels = findings.annotated
            findings.annotated = annotated + fact.annotated, pixels + int(np.prod(fact.shape))
        absent = [name for name, count in zip(names, fact.counts, strict=False) if not count]
        if absent and sum(fact.counts[1:]):
            findings.notes.append(f"{case.case_id}: the label has no {', '.join(absent)}")
        for number, count in enumerate(fact.counts):
            findings.voxels[number] += count


def describe(reader: Reader, cases: Sequence[Case], findings: Findings) -> str:
    """Returns the findings as text: an overview, then notes, then problems."""
    dataset = reader.dataset
    patients = {case.patient_id for case in cases}
    lines = [
        f"{dataset.name}: {len(cases)} volumes of {len(patients)} patients in {reader.folder}",
        f"  readable  {len(findings.shapes)}, {findings.labelled} with a label",
    ]
    if findings.shapes:
        lines.append(f"  shape     {_span(findings.shapes)} voxels")
        lines.append(f"  spacing   {_span(findings.spacings_mm)} mm")
    total = sum(findings.voxels.values())
    if total:
        names = ("background", *dataset.struct_name)
        shares = (f"{name} {findings.voxels[number] / total:.2%}" for number, name in enumerate(names))
        lines.append(f"  voxels    {', '.join(shares)}")
    if findings.scribbled:
        annotated, pixels = findings.annotated
        lines.append(f"  scribbles {findings.scribbled} volumes, {annotated / pixels:.2%} of their pixels")
    lines.append(f"  splits    {_coverage(reader)}")
    lines += [f"  note      {note}" for note in findings.notes[:_NOTES_SHOWN]]
    if len(findings.notes) > _NOTES_SHOWN:
        lines.append(f"  note      and {len(findings.notes) - _NOTES_SHOWN} more like these")
    lines += ["", *(f"{problem}\n" for problem in findings.problems)]
    count = len(findings.problems)
    lines.append("No problems." if not count else f"{count} problem{'s' if count > 1 else ''}.")
    return "\n".join(lines)


def _coverage(reader: Reader) -> str:
    listed, missing = _listed_and_missing(reader)
    return f"{len(listed) - len(missing)} of the {len(listed)} patients in data_cfg_{reader.dataset.name}.py are here"


def _listed_and_missing(reader: Reader) -> tuple[list[str], list[str]]:
    """Returns all patients of the split lists, and those of them that are not there."""
    splits = reader.dataset.splits
    lists = [ids for table in (splits.train, splits.val) for combs in table.values() for ids in combs.values()]
    listed = sorted({patient for ids in [*lists, splits.test] for patient in ids})
    known = {case.patient_id for case in reader.cases()}
    names = patient_names(reader, listed)
    return listed, [patient for patient in listed if names[patient] not in known]


def _span(rows: list[tuple[float, ...]]) -> str:
    """Returns the smallest and largest value along each axis: "34-43 x 48-59 x 25-47"."""
    spans = []
    for column in zip(*rows, strict=True):
        low, high = min(column), max(column)
        spans.append(f"{low:.5g}" if low == high else f"{low:.5g}-{high:.5g}")
    return " x ".join(spans)


def _duplicates(facts: list[tuple[Case, _Facts]]) -> list[Problem]:
    seen: dict[str, Case] = {}
    problems = []
    for case, fact in facts:
        other = seen.setdefault(fact.content, case)
        if other is not case:
            error = DataError(
                case.image_path,
                expected="an image that occurs once in the dataset",
                found=f"the voxels of {other.image_path} (case {other.case_id})",
                remedy="Remove one of them; a copy could stand in training and test at once.",
            )
            problems.append(Problem(case.case_id, case.image_path, str(error)))
    return problems


def _similar_patients(reader: Reader, cases: Sequence[Case]) -> list[Problem]:
    groups: dict[str, set[str]] = {}
    for case in cases:
        key = re.sub(r"\d+", lambda digits: str(int(digits[0])), case.patient_id.lower())
        groups.setdefault(key, set()).add(case.patient_id)
    problems = []
    for names in groups.values():
        if len(names) > 1:
            listed = " and ".join(sorted(names))
            error = DataError(
                reader.folder,
                expected="patients whose names differ in more than case and leading zeros",
                found=listed,
                remedy="Rename them, or give the volumes of one patient the same name.",
            )
            problems.append(Problem(sorted(names)[0], reader.folder, str(error)))
    return problems
