"""The pool of an experiment, made from prepared volumes, and the arrays of its units.

Nothing is copied: images, masks and scribbles are read from the memory-mapped volumes, box by box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.active.measures.mfc import PHASES, patient_metadata
from fewslice.active.measures.pixels import PixelStore, stored_pixels
from fewslice.active.units import UNITS, Case, Units, checked_metadata
from fewslice.augment.interpolate import resize_nearest
from fewslice.core import files
from fewslice.core.errors import ConfigError, few
from fewslice.data.cache import PreparedSet, PreparedVolume
from fewslice.settings.experiment import Named

IMAGE, MASK, SCRIBBLE = "image", "label", "scribble"
SLICES = Named(name="slice")


def make_pool(cases: Sequence[Case], unit: Named = SLICES) -> Units:
    """Returns all units of a registered kind in these cases, case by case.

    Where every case is of phase ED or ES the pool's metadata hold "phase", 1 and 0; where a fact is known of all cases
    "group" (one-hot), "height", "weight", see `patient_metadata`.

    Raises:
        ConfigError: no case, a case twice, an unknown kind of unit, or options that it does not have.
    """
    pool = UNITS.get(unit.name)(cases, **unit.options)
    if not pool.can_overlap:  # lattices are for strategies that look at scores
        pool.metadata = checked_metadata(_metadata(pool), len(pool))
    return pool


def open_pool(
    volumes: Sequence[PreparedVolume], unit: Named = SLICES, facts: Sequence[Mapping[str, Any]] | None = None
) -> Units:
    """Returns `make_pool` of prepared volumes, with their phases and other facts (`Reader.patient_facts`)."""
    cases = []
    for volume, more in zip(volumes, facts or [{}] * len(volumes), strict=True):
        case, shape = volume.case, tuple(volume.image.shape[:3])
        cases.append(Case(case.case_id, case.patient_id, shape, {"phase": case.phase, **more}, volume.axes[2] < 0))
    return make_pool(cases, unit)


def _metadata(pool: Units) -> dict[str, np.ndarray]:
    of_unit = pool.case_of(np.arange(len(pool)))
    phases = [case.facts.get("phase") for case in pool.cases]
    by_case = {case.case_id: case.facts for case in pool.cases}
    metadata = patient_metadata([pool.cases[place].case_id for place in of_unit], by_case)
    if all(phase in PHASES for phase in phases):
        metadata["phase"] = np.array([PHASES[phase] for phase in phases])[of_unit]
    return metadata


class Crops(Sequence):
    """The images, masks or scribbles of all units of a pool, read when they are asked for.

    Serves as the (N, H, W) array `masks` of a `Query`.

    Args:
        volumes: The prepared volumes of the pool, in the order of its cases.
        kind: "image": float32 with a channel axis. "label", "scribble": uint8 without one.
        dims: 2: units are one slice thick, crops (rows, columns, ...). 3: crops (slices, rows, columns, ...).
        size: Rows and columns to give every 2D crop by the nearest pixel; None leaves them.

    Attributes:
        dtype: Of a crop.

    Raises:
        ConfigError: a volume that lacks the kind asked for; volumes that are not those of the pool; thick units in 2D.
    """

    def __init__(
        self,
        volumes: Sequence[PreparedVolume],
        pool: Units,
        kind: str = IMAGE,
        *,
        dims: int = 2,
        size: tuple[int, int] | None = None,
    ):
        self._arrays = [getattr(volume, kind, None) for volume in volumes]
        lacking = [volume.case.case_id for volume, array in zip(volumes, self._arrays, strict=True) if array is None]
        if lacking:
            raise ConfigError(f"The pool needs a {kind} for every unit, but there is no {kind} of {few(lacking, 5)}.")
        if [volume.case.case_id for volume in volumes] != [case.case_id for case in pool.cases]:
            raise ConfigError("The volumes are not those of the pool. Open them with the same split and phases.")
        self._pool, self._is_image, self._dims, self._size = pool, kind == IMAGE, dims, size
        self.dtype = np.dtype(np.float32 if self._is_image else np.uint8)

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, unit: int) -> np.ndarray:
        """Returns one crop as an array of its own."""
        if not 0 <= unit < len(self):
            raise IndexError(f"The pool has the units 0 to {len(self) - 1}. Received: {unit}")
        box = self._pool.box(int(unit))
        crop = self._arrays[box.case][box.slices]
        if self._dims == 2:
            if box.size[0] != 1:
                raise ConfigError(f"A 2D network needs units of one slice. {self._pool.name(unit)} has {box.size[0]}.")
            crop = crop[0]
            if self._size is not None and crop.shape[:2] != tuple(self._size):
                crop = resize_nearest(crop, self._size)
        has_channels = self._arrays[box.case].ndim == 4
        return np.array(crop if has_channels or not self._is_image else crop[..., None], self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...) shape of all crops together; units must be of one size."""
        return (len(self), *self[0].shape)

    def take(self, units: Sequence[int]) -> np.ndarray:
        """Returns (n, ...) the crops of some units, of one size, together."""
        crops = [self[unit] for unit in units]
        return np.stack(crops) if crops else np.empty((0, *self.shape[1:]), self.dtype)


def open_pixels(volumes: PreparedSet, pool: Units, folder: Path, *, shape: tuple[int, int]) -> PixelStore:
    """Returns the pixels of all units side by side, memory-mapped; writes them into `folder` if they are not there.

    Args:
        volumes: The volumes of the pool, prepared with the same settings whenever this folder is used.
        folder: Where pixels-<digest>.npy is or comes to lie: 2 bytes per pixel of the pool.
        shape: Rows and columns of the stored crops.
    """
    crops = Crops(volumes, pool)
    key = {"scans": volumes.digest, "from": (len(crops), *crops[0].shape), "to": tuple(shape), "dtype": "float16"}
    return stored_pixels(folder / f"pixels-{files.digest(key)}.npy", crops, shape)
