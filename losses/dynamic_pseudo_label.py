"""Scribble supervision with dynamically mixed pseudo-labels of two decoders."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from losses import checks
from losses.info_nce import at_least_float32
from losses.pixels import IntegerLabelLoss, batch_dice, check_integer_labels, known_cross_entropy, softmax
from losses.registry import register


def mixing_targets(labels: np.ndarray, share: float) -> np.ndarray:
    """Returns the `y_true` of `DynamicPseudoLabel`.

    Args:
        labels: (N, H, W) integers, the class of each pixel or the ignore value.
        share: Of the first decoder in the pseudo-label, 0 to 1, drawn anew for each batch.

    Returns:
        (N, H, W, 2) float32: label, share.

    Raises:
        ValueError: `share` is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"`share` must lie in [0, 1]. Received: share={share}")
    labels = np.asarray(labels)
    return np.stack([labels.astype(np.float32), np.full(labels.shape, share, np.float32)], axis=-1)


@register("dynamic_pseudo_label")
class DynamicPseudoLabel(IntegerLabelLoss):
    """Partial cross-entropy of two decoders, and their Dice loss against a pseudo-label mixed from both.

        partial_weight (CE_1 + CE_2) / 2 + pseudo_weight (Dice(p_1, Y) + Dice(p_2, Y)) / 2
        Y = argmax over classes of b p_1 + (1 - b) p_2, without gradient

    CE is the cross-entropy over annotated pixels, Dice(p, Y) `losses.pixels.batch_dice` of all pixels of the batch.

    `y_true`: (N, H, W, 2), see `mixing_targets`: class or `ignore_value`, and b, which comes with the batch so that
    training resumes exactly. `y_pred`: logits (N, H, W, 2, K). `call` returns a scalar.

    Args:
        ignore_value: Label of pixels without annotation; None: all are annotated.
        partial_weight: Weight of the cross-entropy.
        pseudo_weight: Weight of the Dice loss.
        **kwargs: As in `losses.registry.Loss`.

    Raises:
        ValueError: an `ignore_value` that is no label; negative weights; shapes that do not fit.

    Source:
        Luo et al., 2022, https://arxiv.org/abs/2203.02106, equations 1 to 4.

    Notes:
        A batch without annotated pixels has a cross-entropy of 0; the published code gives NaN. The published Dice
        loss counts every sum once per image of the batch, so that its 1e-5 is that much smaller against them; no number
        differs by more than float32 resolves.

    Example:
        >>> labels = np.full((2, 8, 8), 255)
        >>> labels[:, 3] = 1
        >>> logits = np.random.default_rng(0).normal(size=(2, 8, 8, 2, 4))
        >>> value = DynamicPseudoLabel(255)(mixing_targets(labels, 0.3), logits)
    """

    def __init__(
        self, ignore_value: int | None, *, partial_weight: float = 1.0, pseudo_weight: float = 0.5, **kwargs: Any
    ):
        super().__init__(ignore_value, **kwargs)
        self.partial_weight = checks.not_negative("partial_weight", partial_weight)
        self.pseudo_weight = checks.not_negative("pseudo_weight", pseudo_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        self._check_shapes(y_true, y_pred)
        num_classes = y_pred.shape[-1]
        flat = ops.reshape(y_pred, (ops.shape(y_pred)[0], -1, 2, num_classes))
        both = at_least_float32(ops.transpose(flat, (2, 0, 3, 1)))  # (2, N, K, P)
        labels, share = ops.unstack(y_true, 2, axis=-1)
        hot, known = self.split_labels(labels, num_classes, both.dtype)
        share = ops.reshape(ops.cast(share, both.dtype), (ops.shape(both)[1], 1, -1))
        branches = ops.unstack(both, 2)
        probabilities = [softmax(logits) for logits in branches]
        mixed = ops.stop_gradient(share * probabilities[0] + (1.0 - share) * probabilities[1])
        pseudo = ops.one_hot(ops.argmax(mixed, axis=1), num_classes, axis=1, dtype=both.dtype)
        everywhere = ops.ones_like(known)
        partial = sum(known_cross_entropy(logits, hot, known) for logits in branches)
        dice = sum(batch_dice(p, pseudo, everywhere) for p in probabilities)
        return 0.5 * (self.partial_weight * partial + self.pseudo_weight * dice)

    def _check_shapes(self, y_true: Any, y_pred: Any) -> None:
        true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
        if (len(true_shape), len(pred_shape)) != (4, 5) or true_shape[-1] != 2 or pred_shape[-2] != 2:
            raise ValueError(
                "`y_true` must be (rows, height, width, 2), from `mixing_targets`, and `y_pred` logits (rows, height, "
                f"width, 2, classes). Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
            )
        check_integer_labels(true_shape[:-1], pred_shape[:-2])
