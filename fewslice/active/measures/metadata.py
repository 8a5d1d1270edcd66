"""What is known about the patient of a unit, as columns for the distance of MultiFeature Coreset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewslice.active.measures.mfc_terms import pool_columns
from fewslice.active.units import Pool
from fewslice.core.errors import ConfigError

Facts = Mapping[str, Any]
PHASES = {"ED": 1.0, "ES": 0.0}
COLUMNS = ("patient", "phase", "group", "height", "weight", "slice_rel_pos", "slice_pos")
_NUMBERS = {"height": "height_cm", "weight": "weight_kg"}


def patient_metadata(patients: Sequence[Any], facts: Mapping[Any, Facts]) -> dict[str, np.ndarray]:
    """Returns metadata for `make_pool`, a row per unit.

    Args:
        patients: (N,) patient of each unit.
        facts: Patient -> "group" (the diagnosis, a text), "height_cm", "weight_kg"; see `Reader.patient_facts`.

    Returns:
        "group" (N, G) float64, one-hot in the order in which the groups first occur among the units; "height" and
        "weight" (N,) float64 in cm and kg, which `pool_columns` makes standard scores over the units. What one patient
        lacks is left out for all.

    Raises:
        ConfigError: a height or weight that is not finite.
    """
    rows = [facts.get(patient, {}) for patient in np.asarray(patients).tolist()]
    found: dict[str, np.ndarray] = {}
    if rows and all("group" in row for row in rows):
        found["group"] = one_hot([row["group"] for row in rows])
    for name, key in _NUMBERS.items():
        if rows and all(key in row for row in rows):
            values = np.array([row[key] for row in rows], np.float64)
            if not np.isfinite(values).all():
                raise ConfigError(f"The {key} of some patients is not a finite number.")
            found[name] = values
    return found


def lacking(patients: Sequence[Any], facts: Mapping[Any, Facts]) -> dict[str, list[Any]]:
    """Returns column -> the patients, sorted, for lack of whose fact `patient_metadata` leaves it out."""
    known = sorted(set(np.asarray(patients).tolist()))
    keys = {"group": "group", **_NUMBERS}
    found = {name: [one for one in known if key not in facts.get(one, {})] for name, key in keys.items()}
    return {name: ones for name, ones in found.items() if ones}


def phase_column(phases: Sequence[str]) -> np.ndarray:
    """Returns (N,) float64: 1 for "ED", 0 for "ES".

    Raises:
        ConfigError: another phase.
    """
    unknown = sorted(set(phases) - set(PHASES))
    if unknown:
        raise ConfigError(f"Phases must be ED or ES to be compared. Received: {', '.join(map(repr, unknown))}")
    return np.array([PHASES[phase] for phase in phases])


def one_hot(values: Sequence[Any]) -> np.ndarray:
    """Returns (N, G) float64 with a column per different value, in the order in which they first occur."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return np.eye(len(places))[[places[value] for value in values]]


def metadata_array(pool: Pool) -> tuple[np.ndarray, dict[str, slice]]:
    """Returns the metadata side by side, as the published code holds them.

    Args:
        pool: Its `metadata` give phase, group, height and weight where there are any.

    Returns:
        (N, M) float64 with the columns `COLUMNS` as far as they are there (group one-hot, height and weight as standard
        scores with ddof 1, position / number of slices, position), and name -> its columns. The patient is the number
        at the end of the id, or a running number where an id has none.

    Source:
        Vepa et al., 2024, https://arxiv.org/abs/2411.15763.

    Notes:
        Differs from the published code, which read one digit of the slice number: of a volume with more than ten
        slices, slice 10 had the number and the relative position of slice 1.
    """
    columns = pool_columns(pool) | {"patient": _patient_numbers(pool.patients)}
    parts: list[np.ndarray] = []
    places: dict[str, slice] = {}
    width = 0
    for name in (name for name in COLUMNS if name in columns):
        values = np.asarray(columns[name], np.float64).reshape(len(pool), -1)
        places[name] = slice(width, width + values.shape[1])
        width += values.shape[1]
        parts.append(values)
    return np.concatenate(parts, axis=1), places


def _patient_numbers(patients: np.ndarray) -> np.ndarray:
    digits = [re.search(r"\d+$", str(patient)) for patient in patients.tolist()]
    if all(digits):
        return np.array([int(match[0]) for match in digits], np.float64)
    return np.unique(patients, return_inverse=True)[1].astype(np.float64)
