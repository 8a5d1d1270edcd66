"""Parts of the segmentation losses: logits and labels with the classes before the pixels, and sums over them.

The arrays that Keras hands over have the classes last, and a softmax over an innermost axis of a few classes is slow on
a CPU: with the pixels innermost the segmentation losses take half the time (`benchmarks/losses.py`).
"""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.info_nce import at_least_float32
from losses.registry import Loss

_EPSILON = 1e-5


def class_first(x: Any) -> Any:
    """Returns x (N, ..., K) as (N, K, P) in at least float32; P is the number of pixels, 1 without spatial axes."""
    flat = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
    return at_least_float32(ops.transpose(flat, (0, 2, 1)))


def shifted(logits: Any) -> Any:
    """Returns logits (N, K, P) minus their maximum over the classes, so that `exp` cannot overflow."""
    return logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True))


def softmax(logits: Any) -> Any:
    """Returns the probabilities (N, K, P) of logits (N, K, P)."""
    exponentials = ops.exp(shifted(logits))
    return exponentials / ops.sum(exponentials, axis=1, keepdims=True)


def known_pixels(labels: Any) -> Any:
    """Returns (N, 1, P): 1 where one-hot or soft labels (N, K, P) say something, 0 where all their classes are 0."""
    return ops.cast(ops.sum(labels, axis=1, keepdims=True) > 0.5, labels.dtype)


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


def fits(shape: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether two shapes agree in all sizes that are known in both."""
    return len(shape) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True)
    )


def check_soft_labels(y_true: Any, y_pred: Any, *, num_weights: int | None = None) -> None:
    """Raises `ValueError` if labels and logits differ in known sizes, or have other than `num_weights` classes."""
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    if len(pred_shape) < 2 or not fits(true_shape, pred_shape):
        raise ValueError(
            "`y_true` must hold one value per class (one-hot or soft) and have the shape of `y_pred`, "
            f"(batch, ..., class). Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
        )
    if num_weights is not None and pred_shape[-1] not in (None, num_weights):
        raise ValueError(
            f"`class_weights` must have one value per class. Received: {num_weights} weights, y_pred.shape={pred_shape}"
        )


class IntegerLabelLoss(Loss):
    """Base of the losses whose labels are integers, the class of each pixel or `ignore_value` where it is not known.

    Args:
        ignore_value: Label of pixels without one; None: all have one.
        **kwargs: As in `losses.registry.Loss`.

    Raises:
        ValueError: an `ignore_value` that is no label; shapes that do not fit.
    """

    def __init__(self, ignore_value: int | None, **kwargs: Any):
        super().__init__(**kwargs)
        value = -1 if isinstance(ignore_value, bool) else ignore_value
        if value is not None and (int(value) != value or not 0 <= value < 1 << 24):
            raise ValueError(
                f"`ignore_value` must be an integer, 0 or more, or None. Received: ignore_value={ignore_value!r}"
            )
        self.ignore_value = None if value is None else int(value)

    def read(self, y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
        """Returns logits (N, ..., K) as (N, K, P), and what `split_labels` makes of the labels (N, ...).

        Raises:
            ValueError: Labels that do not fit the logits.
        """
        check_integer_labels(y_true.shape, y_pred.shape[:-1])
        logits = class_first(y_pred)
        return logits, *self.split_labels(y_true, y_pred.shape[-1], logits.dtype)

    def split_labels(self, labels: Any, num_classes: int, dtype: Any) -> tuple[Any, Any]:
        """Returns labels (N, ...) one-hot (N, K, P), 0 where unknown, and 1 where they are known (N, 1, P)."""
        flat = ops.cast(ops.reshape(labels, (ops.shape(labels)[0], -1)), "int32")
        if self.ignore_value is None:
            return ops.one_hot(flat, num_classes, axis=1, dtype=dtype), ops.ones_like(flat[:, None], dtype=dtype)
        is_known = ops.not_equal(flat, self.ignore_value)
        known = ops.cast(is_known, dtype)[:, None]
        hot = ops.one_hot(ops.where(is_known, flat, 0), num_classes, axis=1, dtype=dtype)
        return hot * known, known


def check_integer_labels(labels: tuple[int | None, ...], pixels: tuple[int | None, ...]) -> None:
    """Raises `ValueError` unless the shape of labels fits that of the pixels of logits in the sizes known."""
    if not fits(labels, pixels):
        raise ValueError(
            f"`y_true` must hold one class per pixel of `y_pred`. Received: labels of shape {tuple(labels)}, "
            f"logits of pixels {tuple(pixels)}"
        )


def known_cross_entropy(logits: Any, hot: Any, known: Any) -> Any:
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


def teacher_targets(logits: Any) -> tuple[Any, Any, Any]:
    """Returns probabilities, hard one-hot labels (both (N, K, P)) and confidences (N, 1, P) of logits (N, H, W, K).

    No gradient flows back.
    """
    probabilities = softmax(class_first(ops.stop_gradient(logits)))
    best = ops.argmax(probabilities, axis=1)
    hard = ops.one_hot(best, logits.shape[-1], axis=1, dtype=probabilities.dtype)
    return probabilities, hard, ops.max(probabilities, axis=1, keepdims=True)


def groups_of(y_true: Any, y_pred: Any, count: int) -> list[Any]:
    """Splits the rows of `y_pred` into `count` groups, each as long as `y_true`; the first are the teacher's logits.

    Raises:
        ValueError: Arrays that are not (rows, height, width, ...), or numbers of rows or sides that do not fit.
    """
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    rows = None if true_shape[0] is None else count * true_shape[0]
    if len(true_shape) != 4 or len(pred_shape) != 4 or not fits(pred_shape[:3], (rows, *true_shape[1:3])):
        raise ValueError(
            f"`y_pred` must be logits (rows, height, width, classes) with {count} times as many rows as `y_true`. "
            f"Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
        )
    return ops.unstack(ops.reshape(y_pred, (count, -1, *pred_shape[1:])), count)
