"""Shared by the losses whose targets a teacher makes within the step (`weak_to_strong.py`, `copy_paste.py`).

Their `y_pred` holds the teacher's logits too, as its first rows and without gradient.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.class_first import class_first, shifted

_EPSILON = 1e-5


def teacher_targets(logits: Any) -> tuple[Any, Any, Any]:
    """Returns probabilities, hard one-hot labels (both (N, K, P)) and confidences (N, 1, P) of logits (N, H, W, K).

    No gradient flows back.
    """
    probabilities = softmax(class_first(ops.stop_gradient(logits)))
    best = ops.argmax(probabilities, axis=1)
    hard = ops.one_hot(best, logits.shape[-1], axis=1, dtype=probabilities.dtype)
    return probabilities, hard, ops.max(probabilities, axis=1, keepdims=True)


def softmax(logits: Any) -> Any:
    exponentials = ops.exp(shifted(logits))
    return exponentials / ops.sum(exponentials, axis=1, keepdims=True)


def batch_dice(probabilities: Any, labels: Any, weights: Any) -> Any:
    """Returns one minus the mean over classes of the Dice score of a whole batch, pixels weighted.

    Score of a class: (2 sum(w p y) + e) / (sum(w p^2) + sum(w y^2) + e), sums over images and pixels, e = 1e-5.

    Args:
        probabilities: (N, K, P).
        labels: (N, K, P), hard or soft.
        weights: (N, 1, P).
    """
    overlap = ops.sum(weights * probabilities * labels, axis=(0, 2))
    total = ops.sum(weights * (probabilities**2 + labels**2), axis=(0, 2))
    return 1.0 - ops.mean((2.0 * overlap + _EPSILON) / (total + _EPSILON))


def groups_of(y_true: Any, y_pred: Any, count: int) -> list[Any]:
    """Splits the rows of `y_pred` into `count` groups, each as long as `y_true`."""
    rows, all_rows = y_true.shape[0], y_pred.shape[0]
    fits = None in (rows, all_rows) or all_rows == count * rows
    if len(y_true.shape) != 4 or len(y_pred.shape) != 4 or y_true.shape[1:3] != y_pred.shape[1:3] or not fits:
        raise ValueError(
            f"`y_pred` must be logits (rows, height, width, classes) with {count} times as many rows as `y_true`. "
            f"Received: y_true.shape={tuple(y_true.shape)}, y_pred.shape={tuple(y_pred.shape)}"
        )
    grouped = ops.reshape(y_pred, (count, -1, *y_pred.shape[1:]))
    return ops.unstack(grouped, count)
