"""Units of annotation, each an axis-aligned box in a case. One kind of unit per file.

A case is an image or volume with axes (slice, row, column); a 2D image has one slice. A slice is a box one voxel thick,
an image or a volume is the box that holds everything, a patch is any box. A file here, or a plugin, registers a
function under the name that experiments use (`unit: slice`): it gets the cases, and its options by keyword, and returns
their `Units`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.registry import Registry, unknown_name

UNITS = Registry("unit", __name__)


class Box(NamedTuple):
    """A box of voxels in a case.

    Attributes:
        case: Place of the case among the cases of the pool.
        start: First voxel along (slice, row, column).
        size: Voxels along (slice, row, column).
    """

    case: int
    start: tuple[int, int, int]
    size: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The index of the box in an array of its case."""
        return tuple(slice(first, first + count) for first, count in zip(self.start, self.size, strict=True))


@dataclasses.dataclass(frozen=True)
class Case:
    """An image or volume of the pool.

    Attributes:
        case_id: Name, distinct.
        shape: Voxels along (slice, row, column) on the network's grid.
        facts: Known about it without annotation: {"phase": "ED", "grade": "benign", ...}.
        is_reversed: Its slices run against those of its file.
    """

    case_id: str
    patient: Any
    shape: tuple[int, int, int]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_reversed: bool = False

    def file_slice(self, first: int, count: int = 1) -> int:
        """Returns the first slice in the file of `count` slices from `first` on here, or the other way round."""
        return int(self.shape[0] - first - count if self.is_reversed else first)


class Units:
    """The pool: all units, annotated ones included. The place of a unit in it is its index.

    Args:
        cases: The cases, in the order of their units.
        case: (N,) int, place of each unit's case.
        start: (N, 3) int, first voxel of each box.
        size: (N, 3) or (3,) int, size of each box.
        unit_ids: (N,) str, names by which a person can find the units; distinct.
        metadata: Name -> (N,) or (N, M) finite numbers that strategies may use, such as phase, diagnosis (one-hot).
        labels: (N,) image-level class of each unit, for strategies that balance classes; None where there is none.

    Raises:
        ConfigError: no unit; a name or a case twice; metadata that are not finite or of another length.

    `can_overlap` tells whether two units may share voxels; then annotating one makes others unavailable.
    """

    can_overlap = False

    def __init__(
        self,
        cases: Sequence[Case],
        case: np.ndarray,
        start: np.ndarray,
        size: np.ndarray,
        *,
        unit_ids: Sequence[str],
        metadata: Mapping[str, Any] | None = None,
        labels: Sequence[Any] | None = None,
    ):
        self.cases = tuple(cases)
        self._case = np.asarray(case, np.int64)
        self._start = np.asarray(start, np.int32).reshape(len(self._case), 3)
        self._size = np.broadcast_to(np.asarray(size, np.int32), self._start.shape)
        self._names = np.asarray(unit_ids, dtype=str)
        if not len(self._case):
            raise ConfigError("The pool holds no unit to annotate.")
        _refuse_duplicates([case.case_id for case in self.cases], "The case {} is in the pool twice.")
        _refuse_duplicates(self._names, "The unit {} is in the pool twice.")
        self.metadata = checked_metadata(metadata, len(self))
        self.labels = None if labels is None else np.asarray(labels)

    def __len__(self) -> int:
        return len(self._case)

    # How boxes are found: the three methods that a lattice computes instead.

    def case_of(self, units: np.ndarray) -> np.ndarray:
        """Returns (n,) int64 place of the case of each unit."""
        return self._case[units]

    def starts(self, units: np.ndarray) -> np.ndarray:
        """Returns (n, 3) int first voxels."""
        return self._start[units]

    def sizes(self, units: np.ndarray) -> np.ndarray:
        """Returns (n, 3) int sizes."""
        return self._size[units]

    def name(self, unit: int) -> str:
        """Returns the name of a unit."""
        return str(self._names[unit])

    def place_in_file(self, box: Box) -> tuple[int, int, int]:
        """Returns the start of a box; its slice counted as in the file."""
        return (self.cases[box.case].file_slice(box.start[0], box.size[0]), *box.start[1:])

    def find(self, name: str) -> int:
        """Returns the index of the unit called `name`. Raises `KeyError` if there is none."""
        return self._places[name]

    def unknown(self, name: str) -> str:
        """Returns the message for a name that no unit has, with the nearest one."""
        return unknown_name("unit", name, self._places).split(" Known: ")[0]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self._names.tolist())}

    # What follows from them.

    def box(self, unit: int) -> Box:
        """Returns the box of a unit."""
        units = np.array([unit])
        (case,), (start,), (size,) = (part(units).tolist() for part in (self.case_of, self.starts, self.sizes))
        return Box(case, tuple(start), tuple(size))

    @cached_property
    def _all(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def unit_ids(self) -> np.ndarray:
        """(N,) str names of all units."""
        return self._names

    @cached_property
    def volumes(self) -> np.ndarray:
        """(N,) case id of each unit."""
        return np.array([case.case_id for case in self.cases])[self.case_of(self._all)]

    @cached_property
    def patients(self) -> np.ndarray:
        """(N,) patient of each unit."""
        return np.array([case.patient for case in self.cases])[self.case_of(self._all)]

    @cached_property
    def depths(self) -> np.ndarray:
        """(N,) int64 number of units of each unit's case."""
        case = self.case_of(self._all)
        return np.bincount(case, minlength=len(self.cases))[case]

    @cached_property
    def positions(self) -> np.ndarray:
        """(N,) int64 place of each unit in its case; of a slice its index."""
        return self.starts(self._all)[:, 0].astype(np.int64)

    def overlapping(self, boxes: Sequence[Box]) -> np.ndarray:
        """Returns (N,) bool: which units share a voxel with one of the boxes."""
        is_hit = np.zeros(len(self), bool)
        for box in boxes:
            of_case = np.flatnonzero(self.case_of(self._all) == box.case)
            first, size = self.starts(of_case), self.sizes(of_case)
            shares = (first < np.add(box.start, box.size)) & (first + size > box.start)
            is_hit[of_case[shares.all(axis=1)]] = True
        return is_hit


def checked_metadata(metadata: Mapping[str, Any] | None, count: int) -> dict[str, np.ndarray]:
    """Returns metadata as float64 arrays. Raises `ConfigError` for another length and what is not finite."""
    checked = {name: np.asarray(values, np.float64) for name, values in (metadata or {}).items()}
    for name, values in checked.items():
        if len(values) != count or not np.isfinite(values).all():
            raise ConfigError(f"The metadata {name!r} must be {count} finite numbers or rows of them.")
    return checked


def _refuse_duplicates(names: Sequence[str], message: str) -> None:
    values, counts = np.unique(np.asarray(names, dtype=str), return_counts=True)
    if (counts > 1).any():
        raise ConfigError(message.format(values[counts > 1][0]))
