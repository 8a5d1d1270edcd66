"""Training batches for `fit`, each a pure function of (seed, epoch, step), prepared ahead in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

PEEKED = 2  # Keras looks at the first batches of a dataset to learn its shapes, and then asks for them again.


class StepBatches(keras.utils.PyDataset):
    """The batches of steps `start` to `stop` (exclusive); `make` turns a step's number into (inputs, targets)."""

    def __init__(self, make: Callable[[int], tuple[Any, Any]], start: int, stop: int):
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._make, self._start, self._stop = make, start, stop
        self._peeked: dict[int, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index in self._peeked:
            return self._peeked.pop(index)
        batch = self._make(self._start + index)
        if index < PEEKED:
            self._peeked[index] = batch
        return batch
