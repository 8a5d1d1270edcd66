"""Bidirectional copy-paste: images that are part labelled and part unlabelled."""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.components import largest_components
from losses.pixels import batch_dice, class_first, groups_of, known_pixels, shifted, teacher_targets
from losses.registry import Loss, register


@register("copy_paste")
class CopyPaste(Loss):
    """Predictions on images that are part labelled and part unlabelled.

    `y_true`: (u, H, W, K + 1), one-hot labels of the labelled images, all 0 where they are not known, then 1 where the
    mixed image shows the unlabelled one. `y_pred`: logits (2 u, H, W, K), [teacher, on the unlabelled images | mixed
    images].

    The loss is the mean of Dice (`batch_dice`) and cross-entropy, each pixel weighted by 1 where labelled, by `alpha`
    where not, and by 0 on a labelled image where the label is not known.

    Args:
        alpha: Weight of unlabelled pixels, in [0, 1].
        soft: Targets are the teacher's probabilities instead of its decision, and each unlabelled pixel counts by
            `alpha` times the teacher's largest probability.
        largest_component: Of the teacher's decision on an unlabelled image keeps the largest connected component of
            each foreground class (`largest_components`). Without effect if `soft`: probabilities are not filtered.
        **kwargs: As in `losses.registry.Loss`.

    Source:
        Bai et al., 2023, https://arxiv.org/abs/2305.00673, section 3.2 and equations 5 to 8.

    Notes:
        Differs from the published code in that labelled and unlabelled pixels share one Dice score and one mean of the
        cross-entropy with weights, where there was one of each for both; the value is about a third as large.

    Example:
        >>> known = np.zeros((2, 8, 8, 5))
        >>> known[..., 0] = known[:, 4:, :, -1] = 1
        >>> value = CopyPaste()(known, np.random.default_rng(0).normal(size=(4, 8, 8, 4)))
    """

    def __init__(self, alpha: float = 0.5, *, soft: bool = False, largest_component: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= alpha <= 1:
            raise ValueError(f"`alpha` must lie in [0, 1]. Received: alpha={alpha}")
        self.alpha = float(alpha)
        self.soft = bool(soft)
        self.largest_component = bool(largest_component)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        taught, mixed = groups_of(y_true, y_pred, 2)
        probabilities, hard, certainty = teacher_targets(taught)
        if self.largest_component and not self.soft:
            hard = _without_islands(hard, taught.shape[1:3])
        known = class_first(y_true)
        known, is_unlabelled = known[:, :-1], known[:, -1:]
        labels = is_unlabelled * (probabilities if self.soft else hard) + (1.0 - is_unlabelled) * known
        weights = is_unlabelled * self.alpha * (certainty if self.soft else 1.0)
        weights = weights + (1.0 - is_unlabelled) * known_pixels(known)
        logits = shifted(class_first(mixed))
        log_sum = ops.log(ops.sum(ops.exp(logits), axis=1, keepdims=True))
        cross_entropy = -ops.sum(labels * (logits - log_sum), axis=1, keepdims=True)
        entropy = ops.sum(weights * cross_entropy) / ops.maximum(ops.sum(weights), 1.0)
        return 0.5 * (batch_dice(ops.exp(logits - log_sum), labels, weights) + entropy)


def _without_islands(hard: Any, shape: tuple[int, int]) -> Any:
    """Returns one-hot labels (N, K, P) of images of `shape` = (H, W) with the largest component of each class only."""
    labels = ops.reshape(ops.argmax(hard, axis=1), (-1, *shape))
    kept = ops.reshape(largest_components(labels, hard.shape[1]), (-1, shape[0] * shape[1]))
    return ops.one_hot(kept, hard.shape[1], axis=1, dtype=hard.dtype)
