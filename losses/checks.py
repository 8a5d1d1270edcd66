"""Checks of constructor arguments that several losses share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def positive(name: str, value: float) -> float:
    """Returns `value` as a float, or raises `ValueError` unless it is a positive finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value}")
    return float(value)


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Returns `value`, or raises `ValueError` unless it is one of the `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


def same_classes(y_true: Any, y_pred: Any, *, num_classes: int | None = None) -> None:
    """Raises `ValueError` if labels and logits differ in known sizes, or have other than `num_classes`."""
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    pairs = zip(true_shape, pred_shape, strict=False)
    fits = all(a is None or b is None or a == b for a, b in pairs)
    if len(true_shape) != len(pred_shape) or len(pred_shape) < 2 or not fits:
        raise ValueError(
            "`y_true` must hold one value per class (one-hot or soft) and have the shape of `y_pred`, "
            f"(batch, ..., class). Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
        )
    if num_classes is not None and pred_shape[-1] not in (None, num_classes):
        raise ValueError(
            f"`class_weights` must have one value per class. Received: {num_classes} weights, y_pred.shape={pred_shape}"
        )
