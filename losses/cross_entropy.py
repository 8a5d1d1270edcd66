"""Cross-entropy per pixel, with optional class weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from losses.pixels import check_soft_labels, class_first, known_pixels, shifted
from losses.registry import Loss, register


@register("cross_entropy")
class CrossEntropy(Loss):
    """Mean over images and known pixels of w * (-sum over classes of y log p), from logits.

    Pixels whose labels are all 0 are not known; an image without known pixels gives 0. The pixel weight w is the sum
    over classes of class_weights * y (1 without weights); a soft label mixes weights.

    Args:
        class_weights: One non-negative number per class, or None.
        **kwargs: As in `losses.registry.Loss`. `call` returns one value per image.

    Notes:
        As in the published code, the weighted sum is divided by the number of (known) pixels, not by the sum of the
        weights. `y_true` (one-hot or soft) and `y_pred` have shape (batch, ..., class).

    Example:
        >>> logits = keras.random.normal((2, 8, 8, 4))
        >>> labels = keras.ops.one_hot(keras.ops.zeros((2, 8, 8)), 4)
        >>> value = CrossEntropy(class_weights=(0.1, 0.3, 0.3, 0.3))(labels, logits)
    """

    def __init__(self, class_weights: Sequence[float] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.class_weights = None if class_weights is None else _checked(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        weights = self.class_weights
        check_soft_labels(y_true, y_pred, num_weights=None if weights is None else len(weights))
        logits = shifted(class_first(y_pred))  # (N, K, P)
        labels = ops.cast(class_first(y_true), logits.dtype)
        log_sum = ops.log(ops.sum(ops.exp(logits), axis=1))  # (N, P)
        pixel_loss = ops.sum(labels, axis=1) * log_sum - ops.sum(labels * logits, axis=1)
        if weights is not None:
            factors = ops.reshape(ops.convert_to_tensor(weights, labels.dtype), (1, -1, 1))
            pixel_loss = pixel_loss * ops.sum(labels * factors, axis=1)
        known = ops.sum(known_pixels(labels)[:, 0], axis=-1)
        count = ops.cast(ops.shape(labels)[-1], labels.dtype)
        return ops.mean(pixel_loss, axis=-1) * (count / ops.maximum(known, 1.0))  # 1 where all are known


def _checked(class_weights: Sequence[float]) -> list[float]:
    weights = [float(weight) for weight in class_weights]
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise ValueError(
            "`class_weights` must be non-negative finite numbers, not all zero. "
            f"Received: class_weights={class_weights}"
        )
    return weights
