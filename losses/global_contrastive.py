"""Global contrastive losses: embeddings of whole slices, positives by anatomical partition.

Five variants (`exp_no`), each a pair of masks made from structure ids; see `VARIANTS` and losses/README.md.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from losses import checks, structure_ids
from losses.info_nce import info_nce_rows
from losses.registry import Loss, register


@dataclasses.dataclass(frozen=True)
class Variant:
    """Rule for positive pairs.

    Attributes:
        num_views: Views of each slice in the batch.
        within: Pairs of views of the same slice that are positive to each other.
        across: Views in which slices of the same partition of neighbouring volume slots are positive to each other; the
            slots form a closed chain.
        order: Columns of the ids from slowest to fastest, in the rows of a batch.
        uses_partitions: Whether negatives are the rows of other partitions, else all other images.
    """

    num_views: int
    within: tuple[tuple[int, int], ...]
    across: tuple[int, ...] = ()
    order: tuple[str, str, str] = ("slot", "view", "partition")
    uses_partitions: bool = True


VARIANTS = {
    0: Variant(2, within=((0, 1),), order=("slot", "partition", "view"), uses_partitions=False),  # G^R
    1: Variant(3, within=((0, 1), (0, 2), (1, 2)), order=("view", "slot", "partition")),  # G^D-
    2: Variant(2, within=((0, 1),), across=(0, 1)),  # G^D
    3: Variant(3, within=((0, 1), (1, 2)), across=(0,)),  # G^D, three views, originals chained
    4: Variant(3, within=((0, 1), (1, 2)), across=(0, 1, 2)),  # G^D, three views, all chained
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


@register("global_contrastive")
class GlobalContrastive(Loss):
    """Contrasts embeddings of slices; `y_true` are structure ids (N, 3), `y_pred` the embeddings (N, D).

    A positive pair {a, b} contributes l(a, b) + l(b, a) (see `losses.info_nce`), and the loss is the sum over the
    distinct pairs of the batch divided by their number. Any number of partitions and of volume slots is right, as is
    any order of the rows. Rows with a negative slot are ignored. A batch without a positive pair has loss 0.

    Args:
        exp_no: Variant, a key of `VARIANTS`: 0 G^R, 1 G^D-, 2 G^D, 3 and 4 with three views.
        temperature: Divides the cosines; positive, 0.005 is fine.
        **kwargs: As in `losses.registry.Loss`. `call` returns (N,) values whose mean is the loss.

    Notes:
        Differs from the published code in: the normaliser (half of the number of pairs there for `exp_no` 0, 2/3 of it
        for 2); pairs of original and augmented slice, counted twice there for 2 to 4; negatives, found there by the row
        number modulo a literal 4 for `exp_no` 1; positives of wrong role or partition at the end of the batch where its
        length is no multiple of a group.

    Example:
        >>> ids = row_layout(exp_no=2, num_slots=6, n_parts=4)  # (48, 3)
        >>> loss = GlobalContrastive(exp_no=2)
        >>> value = loss(ids, np.random.default_rng(0).normal(size=(48, 128)))
        >>> start = loss.random_level(ids)  # 2 log 37 = 7.22
    """

    def __init__(self, exp_no: int = 2, temperature: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.exp_no = checks.one_of("exp_no", exp_no, VARIANTS)
        self.temperature = checks.positive("temperature", temperature)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positives, negatives = self.masks(y_true)
        rows = info_nce_rows(y_pred, [(positives, negatives)], temperature=self.temperature)
        return rows * structure_ids.per_pair(ops.cast(positives, rows.dtype))

    def masks(self, ids: Any) -> tuple[Any, Any]:
        """Returns who is compared with whom.

        Args:
            ids: (N, 3) structure ids.

        Returns:
            (N, N) float32, 1 for a positive pair, symmetric, and (N, N) boolean mask of the negatives.
        """
        slot, partition, view = structure_ids.split_ids(ids)
        variant = VARIANTS[self.exp_no]
        same_partition, same_slot = structure_ids.equal(partition), structure_ids.equal(slot)
        valid = structure_ids.both(slot >= 0)
        num_slots = ops.maximum(ops.max(slot) + 1, 1)
        step = ops.mod(slot[None, :] - slot[:, None], num_slots)
        neighbours = ~same_slot & ((step == 1) | (step == num_slots - 1))
        pairs = ops.zeros_like(same_slot)
        for first, second in variant.within:
            one_way = (view == first)[:, None] & (view == second)[None, :]
            pairs = pairs | (same_slot & (one_way | ops.transpose(one_way)))
        for chained in variant.across:
            pairs = pairs | (neighbours & structure_ids.both(view == chained))
        related = same_partition if variant.uses_partitions else same_partition & same_slot
        return ops.cast(pairs & same_partition & valid, "float32"), ~related & valid

    def random_level(self, ids: Any) -> float:
        """Returns the loss of embeddings that say nothing (all cosines equal); learning falls below it.

        With m negatives per row it is 2 log(1 + m).

        Args:
            ids: (N, 3) structure ids of a batch.
        """
        positives, negatives = (ops.convert_to_numpy(mask) for mask in self.masks(ids))
        rows = positives.sum(axis=-1) * np.log1p(negatives.sum(axis=-1))
        return float(np.mean(rows * ops.convert_to_numpy(structure_ids.per_pair(positives))))
