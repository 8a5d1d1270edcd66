"""A sum of losses on the same labels and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from losses.registry import Loss, register


@register("mixture")
class Mixture(Loss):
    """Adds up losses, each of which returns one value per row.

    Args:
        parts: Losses, or their serialized configurations.
        **kwargs: As in `losses.registry.Loss`; the reduction of the parts is not used.

    Raises:
        ValueError: If there is no part.

    Example:
        >>> from losses.cross_entropy import CrossEntropy
        >>> from losses.dice import Dice
        >>> loss = Mixture([Dice(), CrossEntropy()])
    """

    def __init__(self, parts: Sequence[keras.losses.Loss | dict], **kwargs: Any):
        super().__init__(**kwargs)
        if not parts:
            raise ValueError("`parts` must hold at least one loss. Received: parts=[]")
        self.parts = [keras.losses.deserialize(part) if isinstance(part, dict) else part for part in parts]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return sum(part.call(y_true, y_pred) for part in self.parts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parts": [keras.losses.serialize(part) for part in self.parts]}
