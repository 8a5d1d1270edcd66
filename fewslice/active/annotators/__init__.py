"""Who annotates what was chosen: labels that are known already, or a person.

One annotator per file, registered under the name users call it by. `annotate` gets the round's folder and the chosen
units, and returns their masks on the network's grid, or raises `WaitingForAnnotations` when the work is handed out and
not back yet. It may be called again for the same round, after an interruption or when work came back.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from fewslice.active.units import Pool
from fewslice.core.registry import Registry
from fewslice.data.cache import PreparedSet
from fewslice.settings.datasets import DatasetConfig

ANNOTATORS = Registry("annotator", __name__)
MASK, SCRIBBLE = "label", "scribble"
KINDS = (MASK, SCRIBBLE)


class WaitingForAnnotations(Exception):
    """Slices were handed out to a person and are not back yet. The message says where they are and what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What an annotator is made with.

    Attributes:
        pool: All units.
        volumes: The prepared volumes whose slices they are, in the pool's order.
        dataset: Settings of the dataset.
        kind: "label" for dense masks or "scribble".
    """

    pool: Pool
    volumes: PreparedSet
    dataset: DatasetConfig
    kind: str

    @property
    def ignore_value(self) -> int:
        """Value of a mask where nothing is annotated."""
        return self.dataset.num_classes


class Annotator(Protocol):
    """The contract; an annotator is made by calling the registered name's object with a `Task`.

    Where that object has a true attribute `reads_labels`, the task's volumes come with labels or scribbles.
    """

    def annotate(self, folder: Path, units: np.ndarray) -> np.ndarray:
        """Returns (b, NX, NY) uint8 masks of the units: classes, and the ignore value where nothing is annotated.

        Args:
            folder: The round's folder.
            units: (b,) pool indices.

        Raises:
            WaitingForAnnotations: the work is handed out.
            DataError: what came back is wrong.
        """


def load_all() -> None:
    """Imports every annotator of this folder, so that their names are known."""
    ANNOTATORS.load()
