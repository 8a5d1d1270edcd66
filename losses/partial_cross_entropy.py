"""Cross-entropy over annotated pixels.

Reference: Tang et al., 2018, https://arxiv.org/abs/1804.01346; Luo et al., 2022, https://arxiv.org/abs/2203.02106.
"""

from __future__ import annotations

from typing import Any

import keras

from losses import annotated
from losses.class_first import class_first
from losses.registry import register


@register("partial_cross_entropy")
class PartialCrossEntropy(keras.losses.Loss):
    """Mean of -log p of the annotated class over the annotated pixels of a batch, from logits.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    a scalar.

    Args:
        ignore_value: Label of pixels without annotation; None: all are annotated.
        **kwargs: `name`, `reduction` and `dtype` of `keras.losses.Loss`; float32 by default, mixed precision or not.

    Raises:
        ValueError: an `ignore_value` that is no label; shapes that do not fit.

    Source:
        Luo et al., 2022, https://arxiv.org/abs/2203.02106, equation 1.

    Notes:
        A batch without annotated pixels gives 0 and no gradient; the published code gives nan.

    Example:
        >>> labels = np.full((2, 8, 8), 255)
        >>> labels[:, 3] = 1
        >>> value = PartialCrossEntropy(255)(labels, np.zeros((2, 8, 8, 4)))  # log 4
    """

    def __init__(self, ignore_value: int | None, **kwargs: Any):
        super().__init__(**{"name": "partial_cross_entropy", "dtype": "float32", **kwargs})
        self.ignore_value = annotated.check_ignore_value(ignore_value)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        annotated.check_shapes(y_true, y_pred)
        logits = class_first(y_pred)
        return annotated.cross_entropy(
            logits, *annotated.split_labels(y_true, y_pred.shape[-1], self.ignore_value, logits.dtype)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ignore_value": self.ignore_value, "dtype": self.dtype}
