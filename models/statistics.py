"""Statistics of batch normalisation as a network with dropout needs them at inference.

Dropout scales what it keeps by 1 / (1 - rate): the mean stays, the variance grows. Moving statistics that were gathered
with active dropout are therefore too large a variance for a network that is used without it, and most so where its
features hardly differ between places, as after a short training on few images.

Source: Li et al., 2019, https://arxiv.org/abs/1801.05134 (section 3, the shift; section 5.1, statistics measured anew).
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
from keras import layers

from models.layers import BatchNormalization


def estimate_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Measures the statistics of all normalisations of a network anew, with nothing dropped. Other weights stay.

    They become the means over the batches of each batch's mean and variance.

    Args:
        model: Any network whose normalisations are `models.layers.BatchNormalization`.
        batches: Images (batch, height, width, channel) as in training, at least one batch.

    Raises:
        ValueError: no batch.
    """

    def without_dropout(layer):
        is_dropout = isinstance(layer, layers.Dropout)
        return layers.Identity(name=layer.name, dtype=layer.dtype_policy) if is_dropout else layer

    whole = keras.models.clone_model(model, clone_function=without_dropout)
    normalisations = [layer for layer in whole.layers if isinstance(layer, BatchNormalization)]
    before = [layer.momentum for layer in normalisations]
    count = 0
    try:
        for count, images in enumerate(batches, start=1):  # noqa: B007  the number is looked at below
            for layer in normalisations:
                layer.momentum = 1.0 - 1.0 / count  # so that all batches weigh the same
            whole(images, training=True)
    finally:
        for layer, momentum in zip(normalisations, before, strict=True):
            layer.momentum = momentum
    if not count:
        raise ValueError("Statistics need at least one batch.")
