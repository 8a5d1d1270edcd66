"""Patches: boxes of one size on a lattice of every case, computed when they are asked for and never written out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from fewslice.active.units import UNITS, Box, Case, Units
from fewslice.core.errors import ConfigError

_NAME = re.compile(r"(.+)_patch_(\d+)_(\d+)_(\d+)")


@UNITS.register("patch")
class Patches(Units):
    """Every position of a patch on the lattice 0, stride, 2 x stride, ... and at the far border of each axis.

    Args:
        size: Voxels of a patch along (slice, row, column); an axis of a case that is shorter gives all it has.
        stride: Voxels between two positions, for each axis or for all.

    Raises:
        ConfigError: no case; a size or stride below 1.

    Notes:
        In memory are the lattice's axes, a few numbers per case. `case_of`, `starts` and `sizes` of n units take time
        and memory for n units. The published lattice of nnActive leaves out the far border.
    """

    can_overlap = True

    def __init__(self, cases: Sequence[Case], *, size: tuple[int, int, int], stride: int | tuple[int, int, int] = 1):
        strides = np.broadcast_to(np.asarray(stride), 3)
        if len(size) != 3 or min(size) < 1 or strides.min() < 1:
            raise ConfigError(f"A patch needs three sizes and strides of at least 1. Received: size={size}, {stride=}")
        if not cases:
            raise ConfigError("The pool holds no unit to annotate.")
        self.cases, self.metadata, self.labels = tuple(cases), {}, None
        self._sizes = np.minimum(np.array([case.shape for case in cases], np.int32), np.asarray(size, np.int32))
        self._axes = [
            [_positions(length, int(step), part) for length, step, part in zip(case.shape, strides, parts, strict=True)]
            for case, parts in zip(cases, self._sizes.tolist(), strict=True)
        ]
        self._counts = np.array([[len(axis) for axis in axes] for axes in self._axes])
        self._ends = np.cumsum(self._counts.prod(axis=1))
        self._case_places = {case.case_id: place for place, case in enumerate(cases)}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def case_of(self, units: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._ends, units, side="right")

    def starts(self, units: np.ndarray) -> np.ndarray:
        units = np.asarray(units)
        found = np.empty((len(units), 3), np.int32)
        cases = self.case_of(units)
        for case in np.unique(cases):
            chosen = cases == case
            places = np.unravel_index(units[chosen] - self._first(case), self._counts[case])
            found[chosen] = np.stack([axis[at] for axis, at in zip(self._axes[case], places, strict=True)], axis=1)
        return found

    def sizes(self, units: np.ndarray) -> np.ndarray:
        return self._sizes[self.case_of(units)]

    def name(self, unit: int) -> str:
        box = self.box(unit)
        return f"{self.cases[box.case].case_id}_patch_{'_'.join(map(str, self.place_in_file(box)))}"

    def find(self, name: str) -> int:
        match = _NAME.fullmatch(name)
        case = self._case_places[match[1]] if match and match[1] in self._case_places else None
        if case is None:
            raise KeyError(name)
        places, starts = [], [int(text) for text in match.groups()[1:]]
        starts[0] = self.cases[case].file_slice(starts[0], int(self._sizes[case][0]))
        for axis, first in zip(self._axes[case], starts, strict=True):
            if first not in axis:
                raise KeyError(name)
            places.append(int(np.searchsorted(axis, first)))
        return self._first(case) + int(np.ravel_multi_index(places, self._counts[case]))

    def unknown(self, name: str) -> str:
        return f"Unknown unit {name!r}. A unit of this pool is called <case>_patch_<slice>_<row>_<column>."

    @property
    def unit_ids(self) -> np.ndarray:
        raise TypeError("The names of patches are not written out; ask for `name(unit)`.")

    @property
    def positions(self) -> np.ndarray:
        """(N,) int64 number of each patch in its case."""
        return self._all - (self._ends - self._counts.prod(axis=1))[self.case_of(self._all)]

    def overlapping(self, boxes: Sequence[Box]) -> np.ndarray:
        is_hit = np.zeros(len(self), bool)
        for box in boxes:
            lattice = is_hit[self._first(box.case) : self._ends[box.case]].reshape(self._counts[box.case])
            hit = [
                (axis < first + count) & (axis + part > first)
                for axis, first, count, part in zip(
                    self._axes[box.case], box.start, box.size, self._sizes[box.case], strict=True
                )
            ]
            lattice |= hit[0][:, None, None] & hit[1][:, None] & hit[2]
        return is_hit

    def _first(self, case: int) -> int:
        return int(self._ends[case - 1]) if case else 0


def _positions(length: int, stride: int, size: int) -> np.ndarray:
    """Returns the first voxels of patches along an axis: multiples of the stride, and the last place that fits."""
    last = max(length - size, 0)
    return np.unique(np.append(np.arange(0, last + 1, stride), last)).astype(np.int32)
