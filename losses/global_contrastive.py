"""Global contrastive losses: embeddings of whole slices, positives by anatomical partition.

Five variants (`exp_no`), each a pair of masks made from structure ids; see `VARIANTS` and losses/README.md.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from losses import checks, structure_ids
from losses.info_nce import info_nce_rows
from losses.registry import register


@dataclasses.dataclass(frozen=True)
class Variant:
    """Rule for positive pairs.

    Attributes:
        title: Name in the paper.
        num_views: Views of each slice in the batch.
        within: Pairs of views of the same slice that are positive to each other.
        across: Views in which slices of the same partition of neighbouring volume slots are positive to each
            other; the slots form a closed chain.
        order: Columns of the ids from slowest to fastest, in the rows of a batch.
        uses_partitions: Whether negatives are the rows of other partitions, else all other images.
    """

    title: str
    num_views: int
    within: tuple[tuple[int, int], ...]
    across: tuple[int, ...] = ()
    order: tuple[str, str, str] = ("slot", "view", "partition")
    uses_partitions: bool = True


VARIANTS = {
    0: Variant("G^R", 2, within=((0, 1),), order=("slot", "partition", "view"), uses_partitions=False),
    1: Variant("G^D-", 3, within=((0, 1), (0, 2), (1, 2)), order=("view", "slot", "partition")),
    2: Variant("G^D", 2, within=((0, 1),), across=(0, 1)),
    3: Variant("G^D, three views, originals chained", 3, within=((0, 1), (1, 2)), across=(0,)),
    4: Variant("G^D, three views, all chained", 3, within=((0, 1), (1, 2)), across=(0, 1, 2)),
}


def row_layout(exp_no: int, num_slots: int, n_parts: int = 4) -> np.ndarray:
    """Returns the structure ids of a batch, row by row, in the layout of the published code.

    A letter stands for n_parts consecutive rows, the partitions of one volume; ' and '' mark its views.

        exp_no 0     a' a'' b' b'' ... single rows; num_slots is the number of images, the partition 0
        exp_no 1     [a b ...] [a' b' ...] [a'' b'' ...]
        exp_no 2     [a a' b b' ...]
        exp_no 3, 4  [a a' a'' b b' b'' ...]

    Args:
        exp_no: Variant, 0 to 4.
        num_slots: Number of volumes (of images for `exp_no` 0) in the batch.
        n_parts: Partitions per volume; not used by `exp_no` 0.

    Returns:
        (N, 3) int32 ids (volume_slot, partition, view), the `y_true` of `GlobalContrastive`.

    >>> row_layout(2, 1, 2).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
    """
    variant = VARIANTS[checks.one_of("exp_no", exp_no, VARIANTS)]
    parts = n_parts if variant.uses_partitions else 1
    return structure_ids.layout(variant.order, slot=num_slots, partition=parts, view=variant.num_views)


def published_normaliser(exp_no: int, batch_size: int) -> int:
    """Returns the number by which the published code divides: 2B, 3B, 4B, 6B, 6B for `exp_no` 0 to 4."""
    checks.one_of("exp_no", exp_no, VARIANTS)
    return (2, 3, 4, 6, 6)[exp_no] * batch_size


@register("global_contrastive")
class GlobalContrastive(keras.losses.Loss):
    """Contrasts embeddings of slices; `y_true` are structure ids (N, 3), `y_pred` the embeddings (N, D).

    A positive pair {a, b} contributes l(a, b) + l(b, a) (see `losses.info_nce`), and the loss is the sum over
    the distinct pairs of the batch divided by their number. Any number of partitions and of volume slots is
    right, as is any order of the rows. Rows with a negative slot are ignored. A batch without a positive pair
    has loss 0.

    Args:
        exp_no: Variant, a key of `VARIANTS`: 0 G^R, 1 G^D-, 2 G^D, 3 and 4 with three views.
        temperature: Divides the cosines; positive, 0.005 is fine.
        pair_counts: "distinct" counts every pair once. "published" counts like the published code, whose
            tuples run over the blocks (volume_slot, view) of the batch in a closed chain and overlap.
        normaliser: Number that divides the sum; None for the number of pairs. See `published_normaliser`.
        name: Name of the loss.
        reduction: As in `keras.losses.Loss`. `call` returns (N,) values whose mean is the loss.
        dtype: As in `keras.losses.Loss`; float32, which keeps the ids exact, also under mixed precision.

    Notes:
        Differs from the published code in: the normaliser (half of the number of pairs there for `exp_no` 0,
        2/3 of it for 2); pairs of original and augmented slice, counted twice there for 2 to 4; negatives,
        found there by the row number modulo a literal 4 for `exp_no` 1; positives of wrong role or partition
        at the end of the batch where its length is no multiple of a group. The first two are offered as
        options.

    Example:
        >>> ids = row_layout(exp_no=2, num_slots=6, n_parts=4)  # (48, 3)
        >>> loss = GlobalContrastive(exp_no=2)
        >>> value = loss(ids, np.random.default_rng(0).normal(size=(48, 128)))
        >>> start = loss.random_level(ids)  # 2 log 37 = 7.22
    """

    def __init__(
        self,
        exp_no: int = 2,
        temperature: float = 0.1,
        *,
        pair_counts: str = "distinct",
        normaliser: float | None = None,
        name: str = "global_contrastive",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = "float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.exp_no = checks.one_of("exp_no", exp_no, VARIANTS)
        self.temperature = checks.positive("temperature", temperature)
        self.pair_counts = checks.one_of("pair_counts", pair_counts, ("distinct", "published"))
        self.normaliser = None if normaliser is None else checks.positive("normaliser", normaliser)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive_weights, negative_mask = self.masks(y_true)
        rows = info_nce_rows(y_pred, positive_weights, negative_mask=negative_mask, temperature=self.temperature)
        return rows * self._row_factor(ops.cast(positive_weights, rows.dtype))

    def masks(self, ids: Any) -> tuple[Any, Any]:
        """Returns who is compared with whom.

        Args:
            ids: (N, 3) structure ids.

        Returns:
            (N, N) float32 counts of the ordered positive pairs, symmetric, and (N, N) boolean mask of the
            negatives.
        """
        slot, partition, view = structure_ids.split_ids(ids)
        variant = VARIANTS[self.exp_no]
        same_partition = structure_ids.equal(partition)
        valid = structure_ids.both(slot >= 0)
        count = _distinct_pairs if self.pair_counts == "distinct" else _published_pairs
        comparable = ops.logical_and(same_partition, valid)
        positives = ops.where(comparable, count(variant, slot, view), 0.0)
        if variant.uses_partitions:
            related = same_partition
        else:
            related = ops.logical_and(same_partition, structure_ids.equal(slot))
        return positives, ops.logical_and(ops.logical_not(related), valid)

    def random_level(self, ids: Any) -> float:
        """Returns the loss of embeddings that say nothing (all cosines equal); learning falls below it.

        With distinct pairs and m negatives per row it is 2 log(1 + m).

        Args:
            ids: (N, 3) structure ids of a batch.
        """
        positive_weights, negative_mask = (keras.ops.convert_to_numpy(mask) for mask in self.masks(ids))
        rows = positive_weights.sum(axis=-1) * np.log1p(negative_mask.sum(axis=-1))
        return float(np.mean(rows * keras.ops.convert_to_numpy(self._row_factor(positive_weights))))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "exp_no": self.exp_no,
            "temperature": self.temperature,
            "pair_counts": self.pair_counts,
            "normaliser": self.normaliser,
            "dtype": self.dtype,
        }

    def _row_factor(self, positive_weights: Any) -> Any:
        """Returns the number that turns sums of terms into per-row values whose mean is the loss."""
        num_rows = ops.cast(ops.shape(positive_weights)[0], positive_weights.dtype)
        if self.normaliser is not None:
            return num_rows / self.normaliser
        num_pairs = ops.sum(positive_weights) / 2.0
        return num_rows / ops.maximum(num_pairs, 1.0)


def _distinct_pairs(variant: Variant, slot: Any, view: Any) -> Any:
    """Returns (N, N) float32, 1 where slots and views make a positive pair, whatever the partitions."""
    same_slot = structure_ids.equal(slot)
    num_slots = ops.maximum(ops.max(slot) + 1, 1)
    step = ops.mod(slot[None, :] - slot[:, None], num_slots)
    neighbours = ops.logical_and(ops.logical_not(same_slot), ops.logical_or(step == 1, step == num_slots - 1))
    pairs = ops.zeros_like(same_slot)
    for first, second in variant.within:
        one_way = ops.logical_and((view == first)[:, None], (view == second)[None, :])
        views = ops.logical_or(one_way, ops.transpose(one_way))
        pairs = ops.logical_or(pairs, ops.logical_and(same_slot, views))
    for chained in variant.across:
        pairs = ops.logical_or(pairs, ops.logical_and(neighbours, structure_ids.both(view == chained)))
    return ops.cast(pairs, "float32")


def _published_pairs(variant: Variant, slot: Any, view: Any) -> Any:
    """Returns (N, N) float32, how often the tuples of the published code contain each pair.

    A tuple starts at every block of view 0 and holds the blocks that follow it, of one slot or, where slots
    are chained, of two; blocks are numbered slot * num_views + view and wrap around. In a batch of one slot
    the second half of a tuple is its first half again, as in the published code.
    """
    offset = variant.num_views
    tuple_pairs = list(variant.within)
    if variant.across:
        tuple_pairs += [(offset + first, offset + second) for first, second in variant.within]
        tuple_pairs += [(chained, offset + chained) for chained in variant.across]
    block = slot * offset + view
    num_blocks = ops.maximum(ops.max(block) + 1, 1)
    counts = 0.0
    for first, second in tuple_pairs:
        start = ops.mod(block - first, num_blocks)
        is_first = ops.mod(start, offset) == 0
        partner = ops.mod(start + second, num_blocks)
        one_way = ops.logical_and(is_first[:, None], partner[:, None] == block[None, :])
        one_way = ops.cast(one_way, "float32")
        counts = counts + one_way + ops.transpose(one_way)
    return counts
