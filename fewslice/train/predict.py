"""From a network's logits to the class probabilities of a volume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np


def predictor(model: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function volume -> probabilities.

    Every call of the network has the same shape (the last chunk is filled up), so that it is compiled once.

    Args:
        model: Images (batch, height, width, channel) -> logits (batch, height, width, class).
        batch_size: Slices at a time.

    Returns:
        (Z, height, width, channel) float32 -> (Z, height, width, class) float32, sums to 1 over the classes.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        chunks = []
        for filled, count in padded_batches(images, batch_size):
            chunks.append(softmax(np.asarray(model.predict_on_batch(filled)[:count], np.float32)))
        return np.concatenate(chunks)

    return predict


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, float32."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def padded_batches(images: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches, so that a network is compiled once.

    Args:
        images: (height, width, channel) of each unit, or whatever else has one shape.
        size: Rows of a batch; the last one is filled up with zeros.

    Yields:
        (size, height, width, channel) float32, and how many rows are images.

    Example:
        >>> [(batch[:, 0].tolist(), count) for batch, count in padded_batches(np.ones((3, 1)), 2)]
        [([1.0, 1.0], 2), ([1.0, 0.0], 1)]
    """
    units = iter(images)
    while chunk := list(itertools.islice(units, size)):
        filled = np.zeros((size, *chunk[0].shape), np.float32)
        for place, image in enumerate(chunk):
            filled[place] = image
        yield filled, len(chunk)
