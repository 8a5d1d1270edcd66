"""Annotations: a partial label volume per case, made of the labels that each round revealed.

It holds classes where something is known and the ignore value elsewhere: full masks, scribbles, patches and files that
a person painted are values of it. Kept are the labels inside the queried boxes, in the order of the query.

    rounds/000/labels.npy    (V,) uint8: labels of the round's boxes, one after the other, each in C order
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from fewslice.active.units import Box, Units


@dataclasses.dataclass(frozen=True, eq=False)
class Revealed:
    """The labels that one round revealed.

    Attributes:
        units: (b,) int64 pool indices, in the order of the query.
        values: (V,) uint8 labels of the boxes, one after the other; maybe memory-mapped.
    """

    number: int
    units: np.ndarray
    boxes: tuple[Box, ...]
    values: np.ndarray

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([0, *(int(np.prod(box.size)) for box in self.boxes)])

    def labels(self, place: int) -> np.ndarray:
        """Returns the (slices, rows, columns) uint8 labels of `boxes[place]`."""
        return self.values[self._ends[place] : self._ends[place + 1]].reshape(self.boxes[place].size)


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Everything annotated so far, round by round.

    Attributes:
        ignore_value: Label of voxels about which nothing is known.
    """

    pool: Units
    ignore_value: int
    rounds: tuple[Revealed, ...] = ()

    @property
    def units(self) -> np.ndarray:
        """(L,) int64 pool indices in the order in which they were annotated."""
        return np.concatenate([np.empty(0, np.int64), *(part.units for part in self.rounds)])

    @property
    def boxes(self) -> list[Box]:
        """The boxes of `units`, in this order."""
        return [box for part in self.rounds for box in part.boxes]

    def __len__(self) -> int:
        return sum(len(part.units) for part in self.rounds)

    def labels(self, place: int) -> np.ndarray:
        """Returns the (slices, rows, columns) uint8 labels of `boxes[place]`."""
        for part in self.rounds:
            if place < len(part.units):
                return part.labels(place)
            place -= len(part.units)
        raise IndexError(place)

    def extended(self, revealed: Revealed) -> Labels:
        """Returns these and another round's."""
        return dataclasses.replace(self, rounds=(*self.rounds, revealed))

    @property
    def is_complete(self) -> bool:
        """Whether every voxel of every annotated box has a class, as in full masks."""
        return all(not (part.values == self.ignore_value).any() for part in self.rounds)

    def count_voxels(self) -> int:
        """Returns how many voxels have a class."""
        return sum(int((part.values != self.ignore_value).sum()) for part in self.rounds)

    def digest(self) -> str:
        """Returns the SHA-256 of all labels in their order."""
        whole = hashlib.sha256()
        for part in self.rounds:
            whole.update(np.ascontiguousarray(part.values).tobytes())
        return whole.hexdigest()


def join(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the (V,) uint8 labels of boxes one after the other, as a round stores them."""
    return np.concatenate([np.empty(0, np.uint8), *(np.asarray(one, np.uint8).ravel() for one in labels)])
