"""Annotations that are there already and are shown only for what is bought: for experiments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewslice.active.annotators import ANNOTATORS, Task
from fewslice.active.slices import SliceStack


@ANNOTATORS.register("simulated")
class SimulatedAnnotator:
    """Takes masks or scribbles from the dataset.

    Args:
        task: Its volumes must have been opened with labels or scribbles.

    Raises:
        ConfigError: a volume without.
    """

    reads_labels = True

    def __init__(self, task: Task):
        self._masks = SliceStack(task.volumes, task.kind)

    def annotate(self, folder: Path, units: np.ndarray) -> np.ndarray:
        """Returns the dataset's own masks of the units, (b, NX, NY) uint8."""
        return self._masks.take(units)
