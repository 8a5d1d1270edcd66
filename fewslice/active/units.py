"""The units that can be annotated: slices of volumes, or 3D patches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fewslice.core.errors import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """All units, annotated ones included. The place of a unit in these arrays is its index.

    Attributes:
        unit_ids: (N,) str, names a person can find the unit by, such as "patient001_frame01_slice_3"; distinct.
        patients: (N,) patient of each unit.
        volumes: (N,) volume of each unit, distinct between patients.
        positions: (N,) int64 place of the unit in its volume, for slices their index.
        depths: (N,) int64 number of units of that volume.
        metadata: name -> (N,) or (N, M) numbers, such as phase, diagnosis group (one-hot), height.
    """

    unit_ids: np.ndarray
    patients: np.ndarray
    volumes: np.ndarray
    positions: np.ndarray
    depths: np.ndarray
    metadata: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.unit_ids)


def make_pool(
    unit_ids: Sequence[str],
    patients: Sequence[Any],
    volumes: Sequence[Any],
    positions: Sequence[int],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> Pool:
    """Returns a checked pool; `depths` are counted.

    Raises:
        ConfigError: no unit; lengths that differ; a name that occurs twice; a volume of two patients; two units at one
            place of a volume; metadata that are not finite numbers.
    """
    columns = {"patients": patients, "volumes": volumes, "positions": positions}
    names = np.asarray(unit_ids, dtype=str)
    if not len(names):
        raise ConfigError("The pool holds no unit to annotate.")
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    for name, values in arrays.items():
        if values.shape != names.shape:
            raise ConfigError(f"The pool has {len(names)} units, but `{name}` has shape {values.shape}.")
    _refuse_twice(names, "The unit {} stands in the pool twice.")
    patient_of = dict(zip(arrays["volumes"].tolist(), arrays["patients"].tolist(), strict=True))
    for volume, patient in zip(arrays["volumes"].tolist(), arrays["patients"].tolist(), strict=True):
        if patient_of[volume] != patient:
            raise ConfigError(f"The volume {volume} belongs to two patients: {patient} and {patient_of[volume]}.")
    volume_codes, inverse, counts = np.unique(arrays["volumes"], return_inverse=True, return_counts=True)
    positions = arrays["positions"].astype(np.int64)
    places = np.array([f"{volume}, position {place}" for volume, place in zip(inverse, positions, strict=True)])
    if len(np.unique(places)) < len(places):
        raise ConfigError("Two units of the pool lie at the same position of the same volume.")
    extra = {name: np.asarray(values, np.float64) for name, values in (metadata or {}).items()}
    for name, values in extra.items():
        if len(values) != len(names) or not np.isfinite(values).all():
            raise ConfigError(f"The metadata {name!r} must be {len(names)} finite numbers or rows of them.")
    return Pool(names, arrays["patients"], arrays["volumes"], positions, counts[inverse].astype(np.int64), extra)


def _refuse_twice(names: np.ndarray, message: str) -> None:
    values, counts = np.unique(names, return_counts=True)
    if len(values) < len(names):
        raise ConfigError(message.format(values[counts > 1][0]))
