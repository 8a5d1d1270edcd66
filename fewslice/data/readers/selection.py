"""Which volumes belong to the patients of a split list."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from absl import logging

from fewslice.core.errors import ConfigError, DataError, few
from fewslice.data.readers.base import Reader
from fewslice.data.volume import Case


def find_cases(reader: Reader, patient_ids: Sequence[str], phases: Sequence[str]) -> list[Case]:
    """Returns the volumes of some patients in some phases.

    An id of digits only also finds the patient whose id ends with that number ("000" finds "prostate_00"),
    if the final numbers of the dataset's ids are all different.

    A dataset without phases has the phases ("",).

    Returns:
        Cases in the order of `patient_ids`, then of `phases`; `patient_id` is the id that was asked for.

    Raises:
        ConfigError: no id, an empty or a repeated one, no phase.
        DataError: patients or phases that the dataset does not have; names all of them.
    """
    ids = [patient_ids] if isinstance(patient_ids, str) else list(patient_ids)
    _check_ids(reader.dataset.name, ids, phases)
    table: dict[tuple[str, str], list[Case]] = {}
    for case in reader.cases():
        table.setdefault((case.patient_id, case.phase), []).append(case)
    names = patient_names(reader, ids)
    found, missing = [], []
    for patient in ids:
        for phase in phases:
            cases = table.get((names[patient], phase), [])
            found += [dataclasses.replace(case, patient_id=patient) for case in cases]
            if not cases:
                missing.append((patient, phase))
    if missing:
        raise _missing(reader, missing)
    return found


def find_readable(reader: Reader, patient_ids: Sequence[str], phases: Sequence[str], *, with_label: bool) -> list[Case]:
    """Returns the result of `find_cases`; with labels without volumes that lack one where the patient has another.

    The log names those that are left out. Where no volume of a patient and phase has a label, reading says so.
    """
    cases = find_cases(reader, patient_ids, phases)
    have = {(case.patient_id, case.phase) for case in cases if with_label and case.label_path is not None}
    left_out = [case for case in cases if case.label_path is None and (case.patient_id, case.phase) in have]
    if left_out:
        names = few([case.case_id for case in left_out])
        logging.warning("Left out beside labelled volumes of their patients, having no label: %s.", names)
    return [case for case in cases if case not in left_out]


def resolve_patients(reader: Reader, patient_ids: Sequence[str]) -> set[str]:
    """Returns the dataset's own names of some patients, whatever phases they have.

    Raises:
        ConfigError: no id, an empty or a repeated one.
        DataError: patients that the dataset does not have; names all of them.
    """
    ids = list(patient_ids)
    _check_ids(reader.dataset.name, ids, ("",))
    known = {case.patient_id for case in reader.cases()}
    names = patient_names(reader, ids)
    missing = [(patient, "") for patient in ids if names[patient] not in known]
    if missing:
        raise _missing(reader, missing)
    return set(names.values())


def _check_ids(dataset: str, ids: list[str], phases: Sequence[str]) -> None:
    problems = [f"an id that is no text: {item!r}" for item in ids if not isinstance(item, str)]
    problems += ["an empty id"] * any(isinstance(item, str) and not item.strip() for item in ids)
    repeated = sorted({str(item) for item in ids if ids.count(item) > 1})
    problems += [f"ids that occur more than once: {', '.join(repeated)}"] if repeated else []
    problems += ["no ids at all"] if not ids else []
    problems += ["no phases"] if not phases else []
    if problems:
        raise ConfigError(f"The list of {dataset} patients has {'; '.join(problems)}. Mend data_cfg_{dataset}.py.")


def patient_names(reader: Reader, ids: Sequence[str]) -> dict[str, str]:
    """Returns the dataset's name for each id; ids that it does not have stay as they are.

    Raises:
        ConfigError: two ids mean the same patient.
    """
    known = {case.patient_id for case in reader.cases()}
    numbers: dict[int, set[str]] = {}
    for patient in known:
        match = re.search(r"(\d+)$", patient)
        numbers.setdefault(int(match[1]) if match else -1, set()).add(patient)
    is_unique = all(len(group) == 1 for group in numbers.values()) and -1 not in numbers
    names = {}
    for item in ids:
        by_number = numbers.get(int(item)) if is_unique and re.fullmatch(r"[0-9]+", item) else None
        names[item] = item if item in known or not by_number else next(iter(by_number))
    same = [item for item in ids if list(names.values()).count(names[item]) > 1]
    if same:
        raise ConfigError(f"{', '.join(same)} are the same patient of {reader.dataset.name}. List each patient once.")
    return names


def _missing(reader: Reader, missing: list[tuple[str, str]]) -> DataError:
    absent = [f"{patient} ({phase})" if phase else patient for patient, phase in missing]
    known = sorted({case.patient_id for case in reader.cases()})
    phases = sorted({case.phase for case in reader.cases() if case.phase})
    remedy = f"The folder holds {len(known)} patients: {few(known)}"
    remedy += f"; phases {', '.join(phases)}. " if phases else ". "
    remedy += "Add the missing ones or choose a split of those that are there. " + reader.dataset.how_to_get
    return DataError(
        reader.folder,
        expected=f"volumes of all patients that the split lists ({reader.expects})",
        found=f"none for {few(absent)}",
        remedy=remedy.strip(),
    )
