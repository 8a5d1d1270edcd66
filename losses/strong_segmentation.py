"""Full supervision in active learning: cross-entropy and Dice of the whole batch, on integer labels."""

from __future__ import annotations

from typing import Any

from losses.pixels import IntegerLabelLoss, batch_dice, known_cross_entropy, softmax
from losses.registry import register


@register("strong_segmentation")
class StrongSegmentation(IntegerLabelLoss):
    """Half the cross-entropy plus half the Dice loss (`losses.pixels.batch_dice`) over all classes, from logits.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    a scalar.

    Args:
        ignore_value: Label of pixels that count in neither part; None: all count.
        **kwargs: As in `losses.pixels.IntegerLabelLoss`, errors too.

    Source:
        Vepa et al., 2024, https://arxiv.org/abs/2411.15763 (full supervision), as published.

    Notes:
        The published label 4 is left out of the cross-entropy, whether or not 4 is a class, and nothing of the Dice
        loss.

    Example:
        >>> labels = np.random.default_rng(0).integers(4, size=(2, 8, 8))
        >>> value = StrongSegmentation()(labels, np.zeros((2, 8, 8, 4)))
    """

    def __init__(self, ignore_value: int | None = None, **kwargs: Any):
        super().__init__(ignore_value, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits, hot, known = self.read(y_true, y_pred)
        return 0.5 * (known_cross_entropy(logits, hot, known) + batch_dice(softmax(logits), hot, known))
