"""Annotations that are there already and are revealed only for what was chosen: for experiments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewslice.active.annotators import ANNOTATORS, Task
from fewslice.active.pool import Crops


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
        self._crops = Crops(task.volumes, task.pool, task.annotation.array, dims=3)

    def annotate(self, folder: Path, units: np.ndarray) -> list[np.ndarray]:
        """Returns the dataset's own labels of the units."""
        return [self._crops[unit] for unit in units.tolist()]
