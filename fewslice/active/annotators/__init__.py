"""Annotators of the chosen units: labels that are known already, or a person.

One annotator per file, registered under the name users call it by. `annotate` may be called again for the same round,
after an interruption or when work came back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from fewslice.active.units import Units
from fewslice.core.registry import Registry
from fewslice.data.cache import PreparedSet, PreparedVolume
from fewslice.settings.datasets import DatasetConfig

ANNOTATORS = Registry("annotator", __name__)
ANNOTATIONS = Registry("annotation")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A way to draw. Its result is always a partial label volume.

    Attributes:
        array: Array of a prepared volume that holds what an annotator would draw: "label" or "scribble".
        is_dense: Whether every voxel of a unit gets a class.
        instruction: For a person; `{ignore}` stands for the ignore value.
    """

    array: str
    is_dense: bool
    instruction: str


ANNOTATIONS.register("mask")(
    Annotation(
        "label",
        True,
        "Paint every structure of a slice completely. As soon as anything in a slice is painted or cleared, what is\n"
        "   left of it counts as background. A slice without structures: one stroke of background (0) in it says so.\n"
        "   A slice in which everything is still {ignore} was forgotten: the next command asks about it.",
    )
)
ANNOTATIONS.register("scribble")(
    Annotation(
        "scribble",
        False,
        "Draw strokes in every structure that is there and in the background (0); the rest stays {ignore} and counts\n"
        "   as unknown. A slice without any stroke was forgotten: the next command asks about it.",
    )
)


class WaitingForAnnotations(Exception):
    """Units were handed out to a person and are not back yet. The message says where they are and what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """The input of an annotator.

    Attributes:
        volumes: The prepared volumes whose units they are, in the order of the pool's cases.
        annotation: How it is drawn.
        accept: Answers of `--accept` about files that came back.
        prefill: Returns the labels (X, Y, Z) uint8 on the grid of the file with which a volume's masks begin; or None.
    """

    pool: Units
    volumes: PreparedSet
    dataset: DatasetConfig
    annotation: Annotation
    accept: Collection[str] = ()
    prefill: Callable[[PreparedVolume], np.ndarray] | None = None

    @property
    def ignore_value(self) -> int:
        """Label of voxels where nothing is annotated."""
        return self.dataset.num_classes


class Annotator(Protocol):
    """The contract; an annotator is made by calling the registered name's object with a `Task`.

    Where that object has a true attribute `reads_labels`, the task's volumes come with labels or scribbles.
    """

    def annotate(self, folder: Path, units: np.ndarray) -> Sequence[np.ndarray]:
        """Returns the labels of each unit's box: (slices, rows, columns) uint8 classes, or the ignore value.

        Args:
            folder: The round's folder.
            units: (b,) pool indices.

        Raises:
            WaitingForAnnotations: the work is handed out.
            DataError: what came back is wrong.
        """
