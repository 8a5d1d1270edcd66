"""Cross-entropy plus Dice of the whole batch, the loss of the pretrained residual U-Net.

Reference: Nguyen et al., 2023, LVM-Med, https://arxiv.org/abs/2306.11925; Vepa et al., 2024,
https://arxiv.org/abs/2411.15763 (pretrained segmentation networks).
"""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.pixels import IntegerLabelLoss, known_cross_entropy, softmax
from losses.registry import register

_EPSILON = 1e-6


@register("cross_entropy_dice")
class CrossEntropyDice(IntegerLabelLoss):
    """Cross-entropy plus one minus the mean Dice score over classes, from logits.

    Score of a class: (2 sum(p y) + 1e-6) / (sum(p) + sum(y) + 1e-6), sums over all pixels of the batch.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    a scalar.

    Args:
        ignore_value: Label of pixels that count in neither part; None, as published: all count.
        **kwargs: As in `losses.pixels.IntegerLabelLoss`, errors too.

    Example:
        >>> labels = np.random.default_rng(0).integers(4, size=(2, 8, 8))
        >>> value = CrossEntropyDice()(labels, np.zeros((2, 8, 8, 4)))
    """

    def __init__(self, ignore_value: int | None = None, **kwargs: Any):
        super().__init__(ignore_value, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits, hot, known = self.read(y_true, y_pred)
        probabilities = softmax(logits) * known
        overlap = ops.sum(probabilities * hot, axis=(0, 2))
        total = ops.sum(probabilities + hot, axis=(0, 2))
        score = ops.mean((2.0 * overlap + _EPSILON) / (total + _EPSILON))
        return known_cross_entropy(logits, hot, known) + 1.0 - score
