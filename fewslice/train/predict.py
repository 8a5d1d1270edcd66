"""From a network's logits to the class probabilities of a volume."""

from __future__ import annotations

from collections.abc import Callable

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
        depth = len(images)
        chunks = []
        for start in range(0, depth, batch_size):
            chunk = images[start : start + batch_size]
            filled = np.zeros((batch_size, *images.shape[1:]), np.float32)
            filled[: len(chunk)] = chunk
            logits = np.asarray(model.predict_on_batch(filled)[: len(chunk)], np.float32)
            chunks.append(softmax(logits))
        return np.concatenate(chunks)

    return predict


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, float32."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
