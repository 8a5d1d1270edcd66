"""Checks every file of a dataset and lists everything that is wrong, instead of stopping at the first."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fewslice.core.errors import DataError, few, plural
from fewslice.core.parallel import map_threads
from fewslice.core.progress import Progress
from fewslice.data.geometry_notes import Lie, geometry_notes, lie_of
from fewslice.data.readers import Reader, patients
from fewslice.data.readers.selection import patient_names
from fewslice.data.volume import Case, image_notes
from fewslice.settings.splits import val_patients

_NOTES_SHOWN = 20
_WRONG_SHARE = 0.01  # of scribbled pixels; annotators cross borders here and there


@dataclass(frozen=True)
class Facts:
    """Facts kept of a volume after it was read."""

    content: str  # digest of the image
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    counts: tuple[int, ...]  # voxels per class; empty without a label
    annotated: int | None  # pixels with a scribble; None without scribbles
    notes: tuple[str, ...]  # text on what is worth knowing
    lie: Lie


@dataclass
class Findings:
    """Outcome of the check of a dataset."""

    problems: list[DataError] = field(default_factory=list)  # what must be mended, in the order of the cases
    notes: list[str] = field(default_factory=list)  # text on what is worth knowing
    facts: list[Facts] = field(default_factory=list)  # of the volumes that could be read


def examine_dataset(
    reader: Reader, cases: Sequence[Case], *, workers: int | None = None, progress: bool = False
) -> Findings:
    """Reads every image and label of some cases.

    Problems are files that are missing, unreadable or inconsistent, images that occur twice, and patients
    whose names differ in case or leading zeros only. Volumes without a label are no problem. By default `workers` is
    the number of processors.
    """
    results: dict[int, Facts | list[DataError]] = {}
    with Progress(len(cases), f"Checking {reader.dataset.name}", is_enabled=progress) as line:
        for index, result in map_threads(functools.partial(_examine, reader), cases, workers=workers):
            results[index] = result
            line.update(note=cases[index].case_id)
    splits = reader.dataset.splits
    training = {patient for key in splits.labelled_keys() for ids in splits.train[key].values() for patient in ids}
    shared = patients.notes(reader, training, val_patients(splits))
    findings, duplicates, notes = Findings(notes=[*reader.notes, *shared]), [], []
    seen: dict[str, Case] = {}
    lies = {case.case_id: results[index].lie for index, case in enumerate(cases) if isinstance(results[index], Facts)}
    findings.notes += geometry_notes(lies, reader.dataset.orientation)
    shows: dict[str, bool] = {}  # patient -> whether a label has a structure
    for index, case in enumerate(cases):
        result = results[index]
        if isinstance(result, list):
            findings.problems += result
            continue
        findings.facts.append(result)
        notes += [(case.case_id, note) for note in result.notes]
        if result.counts and case.phase in reader.dataset.phases:
            shows[case.patient_id] = shows.get(case.patient_id, False) or any(result.counts[1:])
        other = seen.setdefault(result.content, case)
        if other is not case:
            expected = "an image that occurs once in the dataset"
            found = f"the voxels of {other.image_path} (case {other.case_id})"
            remedy = "Remove one of them; a copy could stand in training and test at once."
            duplicates.append(DataError(case.image_path, expected=expected, found=found, remedy=remedy))
    findings.notes += _lists_of_nothing(reader, shows) + grouped_notes(notes)
    findings.problems += duplicates + _similar_patients(reader, cases)
    return findings


def _lists_of_nothing(reader: Reader, shows: dict[str, bool]) -> list[str]:
    """Returns a text on every list for training or validation whose labels are all empty."""
    splits, notes = reader.dataset.splits, []
    for role, table in (("training", splits.train), ("validation", splits.val)):
        for key in splits.val:
            for comb, ids in table.get(key, {}).items():
                patients = patient_names(reader, ids).values()
                if ids and all(shows.get(patient) is False for patient in patients):
                    notes.append(f"the {role} list {key} {comb} ({few(list(ids))}) shows no structure")
    return notes


def grouped_notes(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Returns one line for each text of (case id, text) pairs, with the cases that it is about."""
    cases: dict[str, list[str]] = {}
    for case_id, text in notes:
        cases.setdefault(text, []).append(case_id)
    return [f"{few(ids)}: {text}" for text, ids in cases.items()]


def missing_patients(reader: Reader) -> list[DataError]:
    """Returns one problem that names all patients of the split lists without a volume; none if all are there."""
    listed, missing = _listed_and_missing(reader)
    if not missing:
        return []
    expected = f"the {len(listed)} patients of data_cfg_{reader.dataset.name}.py ({reader.expects})"
    found = f"no volume of {len(missing)}: {few(missing)}"
    remedy = f"Add the missing ones, or take them out of the lists. {reader.dataset.how_to_get}"
    return [DataError(reader.folder, expected=expected, found=found, remedy=remedy.strip())]


def _examine(reader: Reader, case: Case) -> Facts | list[DataError]:
    with_scribble = True if reader.has_scribble(case) else None
    volume, problems = reader.examine(case, with_label=case.label_path is not None, with_scribble=with_scribble)
    if volume is None:
        return problems
    names = ("background", *reader.dataset.struct_name)
    notes, counts, annotated = [*volume.notes, *image_notes(volume.image, reader.dataset)], (), None
    if volume.label is not None:
        counts = tuple(np.bincount(volume.label.ravel(), minlength=len(names))[: len(names)].tolist())
        known = (volume.label < len(names)).any(axis=(0, 1))
        notes += [] if known.all() else [f"{known.sum()} of {len(known)} slices are annotated"]
        notes += label_notes(np.flatnonzero(counts).tolist(), names)
    if volume.scribble is not None:
        is_annotated = volume.scribble < len(names)
        annotated = int(is_annotated.sum())
        notes += [] if annotated else ["the scribbles are empty"]
        if annotated and not (volume.scribble[is_annotated] > 0).any():
            notes.append("the scribbles hold background only")
        if volume.label is not None:
            is_both = is_annotated & (volume.label < len(names))
            wrong = int((volume.scribble != volume.label)[is_both].sum())
            if wrong > _WRONG_SHARE * annotated:
                notes.append(f"{wrong} of {annotated} scribbled pixels have another class than the label")
    content = hashlib.sha256(np.ascontiguousarray(volume.image.T)).hexdigest() + str(volume.image.shape)
    return Facts(content, volume.image.shape[:3], volume.spacing_mm, counts, annotated, tuple(notes), lie_of(volume))


def label_notes(classes: Sequence[int], names: Sequence[str]) -> list[str]:
    """Returns text on what a label with these classes does not show; `names` begins with the background."""
    absent = [name for index, name in enumerate(names) if index not in classes]
    if not any(classes):
        return ["the label is empty"]
    return [f"the label has no {', '.join(absent)}"] if absent else []


def describe(reader: Reader, cases: Sequence[Case], findings: Findings) -> str:
    """Returns the findings as text: an overview, then notes, then problems."""
    dataset, facts = reader.dataset, findings.facts
    patients = {case.patient_id for case in cases}
    counts = [fact.counts for fact in facts if fact.counts]
    drawn = [fact for fact in facts if fact.annotated is not None]
    listed, missing = _listed_and_missing(reader)
    lines = [
        f"{dataset.name}: {plural(len(cases), 'volume')} of {plural(len(patients), 'patient')} in {reader.folder}",
        f"  readable  {len(facts)}, {len(counts)} with a label",
    ]
    if facts:
        lines.append(f"  shape     {_span([fact.shape for fact in facts])} voxels")
        lines.append(f"  spacing   {_span([fact.spacing_mm for fact in facts])} mm")
    if counts:
        voxels = np.sum(counts, axis=0)
        shares = zip(("background", *dataset.struct_name), voxels / voxels.sum(), strict=True)
        lines.append(f"  voxels    {', '.join(f'{name} {share:.2%}' for name, share in shares)}")
    if drawn:
        share = sum(fact.annotated for fact in drawn) / sum(math.prod(fact.shape) for fact in drawn)
        lines.append(f"  scribbles {len(drawn)} volumes, {share:.2%} of their pixels")
    here = len(listed) - len(missing)
    lines.append(f"  splits    {here} of the {len(listed)} patients in data_cfg_{dataset.name}.py are here")
    lines += [f"  note      {note}" for note in findings.notes[:_NOTES_SHOWN]]
    if len(findings.notes) > _NOTES_SHOWN:
        lines.append(f"  note      and {len(findings.notes) - _NOTES_SHOWN} more like these")
    lines += ["", *(f"{problem}\n" for problem in findings.problems)]
    count = len(findings.problems)
    lines.append("No problems." if not count else f"{plural(count, 'problem')}.")
    return "\n".join(lines)


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


def _similar_patients(reader: Reader, cases: Sequence[Case]) -> list[DataError]:
    groups: dict[str, set[str]] = {}
    for case in cases:
        key = re.sub(r"\d+", lambda digits: str(int(digits[0])), case.patient_id.lower())
        groups.setdefault(key, set()).add(case.patient_id)
    expected = "patients whose names differ in more than case and leading zeros"
    text = {"expected": expected, "remedy": "Rename them, or give the volumes of one patient the same name."}
    alike = [" and ".join(sorted(names)) for names in groups.values() if len(names) > 1]
    return [DataError(reader.folder, found=names, **text) for names in alike]
