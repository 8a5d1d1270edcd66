"""Cross-entropy per pixel, with optional class weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from losses import checks
from losses.class_first import class_first, shifted
from losses.registry import register


@register("cross_entropy")
class CrossEntropy(keras.losses.Loss):
    """Mean over images and pixels of w * (-sum over classes of y log p), from logits.

    The pixel weight w is the sum over classes of class_weights * y (1 without weights); a soft label mixes
    weights.

    Args:
        class_weights: One non-negative number per class, or None.
        name: Name of the loss.
        reduction: As in `keras.losses.Loss`. `call` returns one value per image.
        dtype: As in `keras.losses.Loss`; float32, also under mixed precision.

    Notes:
        As in the published code, the weighted sum is divided by the number of pixels, not by the sum of the
        weights. `y_true` (one-hot or soft) and `y_pred` have shape (batch, ..., class).

    Example:
        >>> logits = keras.random.normal((2, 8, 8, 4))
        >>> labels = keras.ops.one_hot(keras.ops.zeros((2, 8, 8)), 4)
        >>> value = CrossEntropy(class_weights=(0.1, 0.3, 0.3, 0.3))(labels, logits)
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        *,
        name: str = "cross_entropy",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.class_weights = None if class_weights is None else _checked(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        weights = self.class_weights
        checks.same_classes(y_true, y_pred, num_classes=None if weights is None else len(weights))
        logits = shifted(class_first(y_pred))  # (N, K, P)
        labels = ops.cast(class_first(y_true), logits.dtype)
        log_sum = ops.log(ops.sum(ops.exp(logits), axis=1))  # (N, P)
        pixel_loss = ops.sum(labels, axis=1) * log_sum - ops.sum(labels * logits, axis=1)
        if weights is not None:
            factors = ops.reshape(ops.convert_to_tensor(weights, labels.dtype), (1, -1, 1))
            pixel_loss = pixel_loss * ops.sum(labels * factors, axis=1)
        return ops.mean(pixel_loss, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_weights": self.class_weights, "dtype": self.dtype}


def _checked(class_weights: Sequence[float]) -> list[float]:
    weights = [float(weight) for weight in class_weights]
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise ValueError(
            "`class_weights` must be non-negative finite numbers, not all zero. "
            f"Received: class_weights={class_weights}"
        )
    return weights
