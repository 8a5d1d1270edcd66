"""Soft Dice loss, per image and class.

Reference: Milletari et al., 2016, https://arxiv.org/abs/1606.04797.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from losses import checks
from losses.class_first import class_first, shifted
from losses.registry import register

_EPSILON = 1e-10


@register("dice")
class Dice(keras.losses.Loss):
    """One minus the mean Dice score over images and classes, from logits.

    Score of an image and class: 2 sum(p y) / (sum(p) + sum(y) + 1e-10), p the softmax over classes, sums over
    pixels.

    Args:
        with_background: Whether class 0 counts.
        name: Name of the loss.
        reduction: As in `keras.losses.Loss`. `call` returns one value per image.
        dtype: As in `keras.losses.Loss`; float32, also under mixed precision.

    Notes:
        As in the published code, a class that is absent from an image scores 0, whatever is predicted. Labels
        may be soft. `y_true` and `y_pred` have shape (batch, ..., class), any number of spatial axes.

    Example:
        >>> logits = keras.random.normal((2, 8, 8, 4))
        >>> labels = keras.ops.one_hot(keras.ops.zeros((2, 8, 8)), 4)
        >>> value = Dice(with_background=False)(labels, logits)
    """

    def __init__(
        self,
        *,
        with_background: bool = True,
        name: str = "dice",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.with_background = bool(with_background)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        checks.same_classes(y_true, y_pred)
        exponentials = ops.exp(shifted(class_first(y_pred)))
        probabilities = exponentials / ops.sum(exponentials, axis=1, keepdims=True)  # (N, K, P)
        labels = ops.cast(class_first(y_true), probabilities.dtype)
        overlap = ops.sum(probabilities * labels, axis=-1)  # (N, K)
        total = ops.sum(probabilities, axis=-1) + ops.sum(labels, axis=-1)
        score = 2.0 * overlap / (total + _EPSILON)
        return 1.0 - ops.mean(score if self.with_background else score[:, 1:], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "with_background": self.with_background, "dtype": self.dtype}
