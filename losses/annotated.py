"""Shared by the losses that read integer labels with an ignore value."""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.class_first import shifted


def check_ignore_value(value: int | None) -> int | None:
    """Returns the label of pixels without one, or raises `ValueError` unless it is None or a small integer."""
    if value is None:
        return None
    if isinstance(value, bool) or int(value) != value or not 0 <= value < 1 << 24:
        raise ValueError(f"`ignore_value` must be an integer, 0 or more, or None. Received: ignore_value={value!r}")
    return int(value)


def check_shapes(y_true: Any, y_pred: Any, *, extra_axes: int = 0) -> None:
    """Raises `ValueError` unless labels (N, ...) fit logits (N, ..., [`extra_axes` more], K) in the sizes known."""
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    pixels = pred_shape[: len(pred_shape) - 1 - extra_axes]
    pairs = zip(true_shape, pixels, strict=False)
    if len(true_shape) != len(pixels) or not all(None in (a, b) or a == b for a, b in pairs):
        raise ValueError(
            f"`y_true` must hold one class per pixel of `y_pred`. Received: labels of shape {true_shape}, "
            f"y_pred.shape={pred_shape}"
        )


def split_labels(labels: Any, num_classes: int, ignore_value: int | None, dtype: Any) -> tuple[Any, Any]:
    """Returns the labels one-hot (N, K, P) and where there are any (N, 1, P), both in `dtype`.

    Args:
        labels: (N, ...) classes as whole numbers of any dtype.
        num_classes: K.
        ignore_value: Label of pixels without one; None: there are none.
        dtype: Of the results.
    """
    flat = ops.cast(ops.reshape(labels, (ops.shape(labels)[0], -1)), "int32")
    if ignore_value is None:
        return ops.one_hot(flat, num_classes, axis=1, dtype=dtype), ops.ones_like(flat[:, None], dtype=dtype)
    is_known = ops.not_equal(flat, ignore_value)
    known = ops.cast(is_known, dtype)[:, None]
    hot = ops.one_hot(ops.where(is_known, flat, 0), num_classes, axis=1, dtype=dtype)
    return hot * known, known


def cross_entropy(logits: Any, hot: Any, known: Any) -> Any:
    """Returns the mean of -log p of the right class over the known pixels, 0 where there is none; a scalar.

    Args:
        logits: (N, K, P).
        hot: (N, K, P), 0 at unknown pixels.
        known: (N, 1, P).
    """
    logits = shifted(logits)
    log_sum = ops.log(ops.sum(ops.exp(logits), axis=1))
    total = ops.sum(known[:, 0] * log_sum) - ops.sum(hot * logits)
    return total / ops.maximum(ops.sum(known), 1.0)
