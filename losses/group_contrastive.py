"""Group contrastive loss: two views of each slice, and groups of related slices (neighbours, volume, patient).

Three terms share one matrix of similarities; each is a pair of masks made from structure ids:

    NT-Xent          positive: the other view of the slice          negatives: all other rows
    group-negative   positive: the other view of the slice          negatives: rows of other groups
    group-positive   positives: rows of the group, both views       negatives: rows of other groups

NT-Xent alone is SimCLR.

Reference: Vepa et al., 2024, "Integrating deep metric learning with coreset for active learning in 3D segmentation",
https://arxiv.org/abs/2411.15763; Chen et al., 2020, SimCLR, https://arxiv.org/abs/2002.05709.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from losses import checks, structure_ids
from losses.info_nce import info_nce_rows
from losses.registry import Loss, register


def group_row_layout(batch_size: int, group_size: int = 1) -> np.ndarray:
    """Returns the ids of a batch: all first views, then all second views, group after group.

    Args:
        batch_size: B slices.
        group_size: Slices of a group, a divisor of B.

    Returns:
        (2B, 3) int32 (image, group, position in the group), the `y_true` of `GroupContrastive`.

    Raises:
        ValueError: If B is no multiple of the group size.

    >>> group_row_layout(2, 2).tolist()
    [[0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 1]]
    """
    if group_size < 1 or batch_size < 1 or batch_size % group_size:
        raise ValueError(
            "`batch_size` must be a positive multiple of `group_size`. "
            f"Received: batch_size={batch_size}, group_size={group_size}"
        )
    image = np.arange(batch_size, dtype=np.int32)
    return np.tile(np.stack([image, image // group_size, image % group_size], axis=-1), (2, 1))


@register("group_contrastive")
class GroupContrastive(Loss):
    """Contrasts embeddings of slices and of their groups; `y_true` are ids (N, 3), `y_pred` embeddings (N, D).

    With l(a, b) of `losses.info_nce`, each term is the mean of l over its (anchor, positive) pairs, both directions
    counted:

        loss_wt * NT-Xent + neg_loss_wt * group-negative + sum over m of pos_loss_wts[m] * group-positive_m

    The ids are image, group and position in the group (anchor 0, then its partners). Rows of the same image are its
    views. Groups and positions have no influence where no group term has a weight. Any order of the rows is right; rows
    with a negative image are padding. A term without a pair is 0.

    Args:
        temperature: Divides the cosines; positive.
        loss_wt: Weight of NT-Xent.
        neg_loss_wt: Weight of the group-negative term.
        pos_loss_wts: Weight of each group-positive term.
        pos_loss_masks: For each of them the positions that are left out, as anchors and as positives; () for none
            in any. With groups of anchor, volume partner, patient partner, (2,) leaves pairs of one volume
            and () those of one patient.
        positives: "group" takes the positives from the group; "all" takes every other row of the batch, whatever
            the masks say, as in the published code.
        **kwargs: As in `losses.registry.Loss`. `call` returns (N,) values whose mean is the loss.

    Raises:
        ValueError: A temperature that is not positive, weights that are negative or all 0, masks that do not fit.

    Notes:
        Differs from the published code in the group-positive terms. There the mask of the positives starts at ones, so
        that every other row of the batch is a positive and `pos_loss_masks` has no effect (`positives="all"`, which
        leaves all such terms equal). The weight of a pair is 1 / number of pairs; the published 1 / (N (N - 1)) is the
        same number for its N (N - 1) pairs, and kept for the N (2 G - 1) pairs of groups of G it would make the term
        smaller the larger the batch. The paper's volume and patient losses say which rows belong together, so a masked
        position is no anchor either. The norms have a lower bound each, not their product.

    Example:
        >>> ids = group_row_layout(batch_size=9, group_size=3)  # (18, 3)
        >>> loss = GroupContrastive(0.5, pos_loss_wts=(0.35, 0.05), pos_loss_masks=((2,), ()))
        >>> value = loss(ids, np.random.default_rng(0).normal(size=(18, 64)))
    """

    def __init__(
        self,
        temperature: float = 0.5,
        *,
        loss_wt: float = 1.0,
        neg_loss_wt: float = 0.0,
        pos_loss_wts: Sequence[float] = (),
        pos_loss_masks: Sequence[Sequence[int]] = (),
        positives: str = "group",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.temperature = checks.positive("temperature", temperature)
        self.loss_wt = checks.not_negative("loss_wt", loss_wt)
        self.neg_loss_wt = checks.not_negative("neg_loss_wt", neg_loss_wt)
        self.pos_loss_wts = tuple(checks.not_negative("pos_loss_wts", weight) for weight in pos_loss_wts)
        self.pos_loss_masks = _masks(pos_loss_masks, len(self.pos_loss_wts))
        self.positives = checks.one_of("positives", positives, ("group", "all"))
        if not self.loss_wt + self.neg_loss_wt + sum(self.pos_loss_wts):
            raise ValueError("At least one of `loss_wt`, `neg_loss_wt`, `pos_loss_wts` must be positive.")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        rows = info_nce_rows(y_pred, self.masks(y_true), temperature=self.temperature)
        return rows * ops.cast(ops.shape(rows)[0], rows.dtype)

    def masks(self, ids: Any) -> list[tuple[Any, Any]]:
        """Returns who is compared with whom.

        Args:
            ids: (N, 3) image, group, position.

        Returns:
            One or two pairs, NT-Xent's and that of the group terms, as far as they have a weight: (N, N) float32
            weights of the (anchor, positive) pairs, which add up to the weight of the term, and (N, N) boolean mask of
            the negatives.
        """
        image, group, position = structure_ids.split_ids(ids, "image, group, position in the group")
        valid = structure_ids.both(image >= 0)
        row = ops.cumsum(ops.ones_like(image))
        other = valid & ~structure_ids.equal(row)
        same_image, same_group = structure_ids.equal(image), structure_ids.equal(group)
        views = same_image & other
        masks = [(self.loss_wt * _mean(views), ~same_image & valid)] if self.loss_wt else []
        if not self.neg_loss_wt + sum(self.pos_loss_wts):
            return masks
        weights = self.neg_loss_wt * _mean(views)
        for weight, mask in zip(self.pos_loss_wts, self.pos_loss_masks, strict=True):
            positives = other
            if self.positives == "group":
                positives = positives & same_group
                for left_out in mask:
                    positives = positives & structure_ids.both(position != left_out)
            weights = weights + weight * _mean(positives)
        return [*masks, (weights, ~same_group & valid)]

    def random_level(self, ids: Any) -> float:
        """Returns the loss of embeddings that say nothing (all cosines equal); learning falls below it.

        Args:
            ids: (N, 3) ids of a batch.
        """
        level = 0.0
        for masks in self.masks(ids):
            weights, negatives = (ops.convert_to_numpy(mask) for mask in masks)
            level += float(np.sum(weights.sum(axis=-1) * np.log1p(negatives.sum(axis=-1))))
        return level


def _mean(pairs: Any) -> Any:
    """Returns (N, N) float32, 1 / number of pairs where there is one."""
    pairs = ops.cast(pairs, "float32")
    return pairs / ops.maximum(ops.sum(pairs), 1.0)


def _masks(masks: Sequence[Sequence[int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Returns the positions that each group-positive term leaves out."""
    masks = tuple(tuple(int(position) for position in mask) for mask in masks) or ((),) * count
    if len(masks) != count:
        raise ValueError(
            "`pos_loss_masks` must have one entry for each of `pos_loss_wts`, or none at all. "
            f"Received: {len(masks)} masks, {count} weights"
        )
    if any(position < 0 for mask in masks for position in mask):
        raise ValueError(f"`pos_loss_masks` must hold positions in the group, 0 or more. Received: {masks}")
    return masks
