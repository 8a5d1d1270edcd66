"""Soft Dice loss of each image with the classes pooled.

References: Kornia's `dice_loss` as used by https://github.com/vrocheleau/active-learning-segmentation-baselines.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.pixels import IntegerLabelLoss, softmax
from losses.registry import register

_EPSILON = 1e-8


@register("pooled_dice")
class PooledDice(IntegerLabelLoss):
    """One minus 2 sum(p y) / (sum(p) + sum(y) + 1e-8), sums over the classes and known pixels of an image, from logits.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    one value per image.

    Args:
        ignore_value: Label of pixels that do not count; None: all count.
        **kwargs: As in `losses.pixels.IntegerLabelLoss`, errors too.

    Notes:
        Since p and y sum to 1 over the classes, it is one minus the mean probability of the right class: every pixel
        weighs alike, whatever its class. An image without known pixels gives 1 and no gradient.

    Example:
        >>> labels = np.random.default_rng(0).integers(2, size=(2, 8, 8))
        >>> value = PooledDice()(labels, np.zeros((2, 8, 8, 2)))  # 0.5
    """

    def __init__(self, ignore_value: int | None = None, **kwargs: Any):
        super().__init__(ignore_value, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits, hot, known = self.read(y_true, y_pred)
        probabilities = softmax(logits) * known
        overlap = ops.sum(probabilities * hot, axis=(1, 2))
        return 1.0 - 2.0 * overlap / (ops.sum(probabilities + hot, axis=(1, 2)) + _EPSILON)
