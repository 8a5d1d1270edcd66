"""A sum of losses on the same labels and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from losses.registry import register


@register("mixture")
class Mixture(keras.losses.Loss):
    """Adds up losses, each of which returns one value per row.

    Args:
        parts: Losses, or their serialized configurations.
        name: Name of the loss.
        reduction: As in `keras.losses.Loss`; that of the parts is not used.
        dtype: As in `keras.losses.Loss`; float32, also under mixed precision.

    Raises:
        ValueError: If there is no part.

    Example:
        >>> from losses.cross_entropy import CrossEntropy
        >>> from losses.dice import Dice
        >>> loss = Mixture([Dice(), CrossEntropy()])
    """

    def __init__(
        self,
        parts: Sequence[keras.losses.Loss | dict],
        *,
        name: str = "mixture",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not parts:
            raise ValueError("`parts` must hold at least one loss. Received: parts=[]")
        self.parts = [keras.losses.deserialize(part) if isinstance(part, dict) else part for part in parts]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return sum(part.call(y_true, y_pred) for part in self.parts)

    def get_config(self) -> dict[str, Any]:
        parts = [keras.losses.serialize(part) for part in self.parts]
        return {**super().get_config(), "parts": parts, "dtype": self.dtype}
