"""Full supervision in active learning: cross-entropy and Dice of the whole batch, on integer labels.

Reference: Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from typing import Any

import keras

from losses import annotated
from losses.class_first import class_first
from losses.registry import register
from losses.taught import batch_dice, softmax


@register("strong_segmentation")
class StrongSegmentation(keras.losses.Loss):
    """Half the cross-entropy plus half the Dice loss over all classes, background included, from logits.

    Dice is one minus the mean over classes of (2 sum(p y) + 1e-5) / (sum(p^2) + sum(y^2) + 1e-5), sums over all pixels
    of the batch.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    a scalar.

    Args:
        ignore_value: Label of pixels that count in neither part; None: all count.
        **kwargs: `name`, `reduction` and `dtype` of `keras.losses.Loss`; float32 by default, mixed precision or not.

    Raises:
        ValueError: an `ignore_value` that is no label; shapes that do not fit.

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
        super().__init__(**{"name": "strong_segmentation", "dtype": "float32", **kwargs})
        self.ignore_value = annotated.check_ignore_value(ignore_value)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        annotated.check_shapes(y_true, y_pred)
        logits = class_first(y_pred)
        hot, known = annotated.split_labels(y_true, y_pred.shape[-1], self.ignore_value, logits.dtype)
        entropy = annotated.cross_entropy(logits, hot, known)
        return 0.5 * (entropy + batch_dice(softmax(logits), hot, known))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore_value": self.ignore_value, "dtype": self.dtype}
