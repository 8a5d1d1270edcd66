"""Cross-entropy over annotated pixels."""

from __future__ import annotations

from typing import Any

from losses.pixels import IntegerLabelLoss, known_cross_entropy
from losses.registry import register


@register("partial_cross_entropy")
class PartialCrossEntropy(IntegerLabelLoss):
    """Mean of -log p of the annotated class over the annotated pixels of a batch, from logits.

    `y_true`: (N, ...) integers, the class of each pixel or `ignore_value`. `y_pred`: logits (N, ..., K). `call` returns
    a scalar.

    Args:
        ignore_value: Label of pixels without annotation; None: all are annotated.
        **kwargs: As in `losses.pixels.IntegerLabelLoss`, errors too.

    Source:
        Tang et al., 2018, https://arxiv.org/abs/1804.01346; Luo et al., 2022, https://arxiv.org/abs/2203.02106,
        equation 1.

    Notes:
        A batch without annotated pixels gives 0 and no gradient; the published code gives NaN.

    Example:
        >>> labels = np.full((2, 8, 8), 255)
        >>> labels[:, 3] = 1
        >>> value = PartialCrossEntropy(255)(labels, np.zeros((2, 8, 8, 4)))  # log 4
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return known_cross_entropy(*self.read(y_true, y_pred))
