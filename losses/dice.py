"""Soft Dice loss, per image and class.

Reference: Milletari et al., 2016, https://arxiv.org/abs/1606.04797.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.pixels import check_soft_labels, class_first, known_pixels, softmax
from losses.registry import Loss, register

_EPSILON = 1e-10


@register("dice")
class Dice(Loss):
    """One minus the mean Dice score over images and classes, from logits.

    Score of an image and class: 2 sum(p y) / (sum(p) + sum(y) + 1e-10), p the softmax over classes, sums over
    the known pixels: those whose labels are not all 0.

    Args:
        with_background: Whether class 0 counts.
        pooled: Whether the sums go over the classes too. Then, with background, the score is the mean probability of
            the right class, so that every pixel weighs alike, whatever its class.
        **kwargs: As in `losses.registry.Loss`. `call` returns one value per image.

    Notes:
        As in the published code, a class that is absent from an image scores 0, whatever is predicted. Labels
        may be soft. `y_true` and `y_pred` have shape (batch, ..., class), any number of spatial axes.

    Example:
        >>> logits = keras.random.normal((2, 8, 8, 4))
        >>> labels = keras.ops.one_hot(keras.ops.zeros((2, 8, 8)), 4)
        >>> value = Dice(with_background=False)(labels, logits)
    """

    def __init__(self, *, with_background: bool = True, pooled: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.with_background, self.pooled = bool(with_background), bool(pooled)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        check_soft_labels(y_true, y_pred)
        probabilities = softmax(class_first(y_pred))  # (N, K, P)
        labels = ops.cast(class_first(y_true), probabilities.dtype)
        probabilities = probabilities * known_pixels(labels)
        overlap = ops.sum(probabilities * labels, axis=-1)  # (N, K)
        total = ops.sum(probabilities, axis=-1) + ops.sum(labels, axis=-1)
        if not self.with_background:
            overlap, total = overlap[:, 1:], total[:, 1:]
        if self.pooled:
            overlap, total = (ops.sum(each, axis=-1, keepdims=True) for each in (overlap, total))
        return 1.0 - ops.mean(2.0 * overlap / (total + _EPSILON), axis=-1)
