"""Cross-entropy plus Dice of the whole batch, the loss of the pretrained residual U-Net.

Reference: Nguyen et al., 2023, LVM-Med, https://arxiv.org/abs/2306.11925; Vepa et al., 2024,
https://arxiv.org/abs/2411.15763 (pretrained segmentation networks).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from losses import annotated
from losses.class_first import class_first
from losses.registry import register
from losses.taught import softmax

_EPSILON = 1e-6


@register("cross_entropy_dice")
class CrossEntropyDice(keras.losses.Loss):
    """Cross-entropy plus one minus the mean Dice score over classes, from logits.

    Score of a class: (2 sum(p y) + 1e-6) / (sum(p) + sum(y) + 1e-6), sums over all pixels of the batch.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    a scalar.

    Args:
        ignore_value: Label of pixels that count in neither part; None, as published: all count.
        **kwargs: `name`, `reduction` and `dtype` of `keras.losses.Loss`; float32 by default, mixed precision or not.

    Raises:
        ValueError: an `ignore_value` that is no label; shapes that do not fit.

    Example:
        >>> labels = np.random.default_rng(0).integers(4, size=(2, 8, 8))
        >>> value = CrossEntropyDice()(labels, np.zeros((2, 8, 8, 4)))
    """

    def __init__(self, ignore_value: int | None = None, **kwargs: Any):
        super().__init__(**{"name": "cross_entropy_dice", "dtype": "float32", **kwargs})
        self.ignore_value = annotated.check_ignore_value(ignore_value)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        annotated.check_shapes(y_true, y_pred)
        logits = class_first(y_pred)
        hot, known = annotated.split_labels(y_true, y_pred.shape[-1], self.ignore_value, logits.dtype)
        probabilities = softmax(logits) * known
        overlap = ops.sum(probabilities * hot, axis=(0, 2))
        total = ops.sum(probabilities + hot, axis=(0, 2))
        score = ops.mean((2.0 * overlap + _EPSILON) / (total + _EPSILON))
        return annotated.cross_entropy(logits, hot, known) + 1.0 - score

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore_value": self.ignore_value, "dtype": self.dtype}
