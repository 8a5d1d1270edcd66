"""UniMatch: weak-to-strong consistency with two strong views and dropped features."""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.pixels import batch_dice, class_first, groups_of, softmax, teacher_targets
from losses.registry import Loss, register


@register("weak_to_strong")
class WeakToStrong(Loss):
    """Predictions on strongly changed images against what the teacher sees in the weakly changed ones.

    `y_true`: (u, H, W, 2), for the first and the second strong view 1 within the box of CutMix and 0 elsewhere; inside
    the box, row i shows row i - 1 (row 0 the last one). `y_pred`: logits (3 u or 4 u, H, W, K), see
    `models.build_unimatch_net`: [teacher, on the unmixed images | dropped features, if any | strong view |
    second strong view].

    The loss is a weighted sum over the views of the Dice loss of the whole batch (`batch_dice`): 0.5 for the dropped
    features, 0.25 for each strong view.

    Args:
        confidence: Pixels whose largest probability is below it do not count.
        soft: Targets are the teacher's probabilities instead of its decision, and each pixel counts by the
            teacher's largest probability, whatever `confidence` is.
        drops_features: Whether `y_pred` holds the view of dropped features (4 u rows) or not (3 u rows).
        **kwargs: As in `losses.registry.Loss`.

    Source:
        Yang et al., 2023, https://arxiv.org/abs/2208.09910, equations 3 to 7; Dice instead of cross-entropy as in its
        medical experiments.

    Notes:
        Differs from the published code in the partner within CutMix, which is the row before and not an image of
        another batch. Soft targets are not part of it.

    Example:
        >>> boxes, logits = np.zeros((2, 8, 8, 2)), np.random.default_rng(0).normal(size=(8, 8, 8, 4))
        >>> value = WeakToStrong(confidence=0.5)(boxes, logits)
    """

    def __init__(self, confidence: float = 0.95, *, soft: bool = False, drops_features: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= confidence < 1:
            raise ValueError(f"`confidence` must be at least 0 and below 1. Received: confidence={confidence}")
        self.confidence = float(confidence)
        self.soft = bool(soft)
        self.drops_features = bool(drops_features)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        groups = groups_of(y_true, y_pred, 4 if self.drops_features else 3)
        probabilities, hard, certainty = teacher_targets(groups[0])
        labels = probabilities if self.soft else hard
        weights = certainty if self.soft else ops.cast(certainty >= self.confidence, labels.dtype)
        total = 0.0
        if self.drops_features:
            total = 0.5 * batch_dice(softmax(class_first(groups[1])), labels, weights)
        for index, logits in enumerate(groups[-2:]):
            box = ops.cast(class_first(y_true[..., index : index + 1]), labels.dtype)  # (u, 1, P)
            mixed, weighted = (box * ops.roll(x, 1, axis=0) + (1.0 - box) * x for x in (labels, weights))
            total = total + 0.25 * batch_dice(softmax(class_first(logits)), mixed, weighted)
        return total
