"""Local contrastive losses: regions of feature maps, negatives elsewhere in the same image.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from losses import checks, structure_ids
from losses.info_nce import info_nce_terms, masked_logsumexp, normalise
from losses.local_regions import RegionTable
from losses.registry import Loss, register


def local_row_layout(exp_no: int, num_slots: int, n_parts: int = 4) -> np.ndarray:
    """Returns the structure ids of a batch of maps, in the layout of the published code.

        exp_no 0  a' a'' b' b'' ... single images; num_slots is the number of images, the partition is always 0
        exp_no 1  [a' b' ...] [a'' b'' ...], each letter n_parts rows, the partitions of one volume

    Args:
        exp_no: 0 (L^R) or 1 (L^D).
        num_slots: Number of volumes (of images for `exp_no` 0) in the batch.
        n_parts: Partitions per volume; not used by `exp_no` 0.

    Returns:
        (M, 3) int32 ids (volume_slot, partition, view), the `y_true` of `LocalContrastive`.
    """
    if checks.one_of("exp_no", exp_no, (0, 1)) == 0:
        return structure_ids.layout(("slot", "partition", "view"), slot=num_slots, partition=1, view=2)
    return structure_ids.layout(("view", "slot", "partition"), slot=num_slots, partition=n_parts, view=2)


@register("local_contrastive")
class LocalContrastive(Loss):
    """Contrasts regions of maps; `y_true` are structure ids (M, 3), `y_pred` region embeddings (M, U, D).

    For a positive pair of maps {a, b} and each region, the embedding of a is drawn to that of b in the same region and
    away from those of a and of b in the region's negative positions; both directions count. The loss is the sum over
    pairs and regions divided by the number of distinct pairs times the number of regions. Positive pairs are

        exp_no 0 (L^R)  the two views of an image
        exp_no 1 (L^D)  these, and maps of the same partition and view of different volume slots.

    Any number of partitions and slots is right, as is any order of the rows. Rows with a negative slot are ignored.

    Args:
        exp_no: 0 or 1.
        regions: The `RegionTable` (or its config) by which the U embeddings of each map were taken; see
            `losses.local_regions.region_table`.
        temperature: Divides the cosines; positive, 0.005 is fine.
        batch_negatives: Also pushes the anchor from the same region in maps of other images (`exp_no` 0) or of other
            partitions (`exp_no` 1), which does not become trivial as the neighbours in one image do.
        **kwargs: As in `losses.registry.Loss`. `call` returns (M,) values whose mean is the loss.

    Notes:
        Differs from the published code in: both directions and the views of both halves serve as anchors for `exp_no`
        1 (there, maps of view 0 only), and the divisor is the number of pairs (there, of maps); partitions are those of
        the ids, not a literal 4; `exp_no` 1 uses the negatives of `regions`, so ask for 4 to have the published number.

    Example:
        >>> from losses.local_regions import region_table
        >>> regions = region_table(48, 13, local_reg_size=1)
        >>> loss = LocalContrastive(0, regions)
        >>> ids = local_row_layout(0, num_slots=10)  # (20, 3)
        >>> embeddings = np.random.default_rng(0).normal(size=(20, len(regions.positions), 128))
        >>> value, start = loss(ids, embeddings), loss.random_level(ids)  # start: 2 log 11 = 4.80
    """

    def __init__(
        self,
        exp_no: int,
        regions: RegionTable | dict,
        *,
        temperature: float = 0.1,
        batch_negatives: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.exp_no = checks.one_of("exp_no", exp_no, (0, 1))
        self.regions = RegionTable.from_config(regions) if isinstance(regions, dict) else regions
        self.temperature = checks.positive("temperature", temperature)
        self.batch_negatives = bool(batch_negatives)
        self._compared, self._is_compared = _compared_positions(self.regions)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if len(y_pred.shape) != 3 or y_pred.shape[1] not in (None, len(self.regions.positions)):
            raise ValueError(
                f"`y_pred` must hold one embedding per position of `regions`, shape (maps, "
                f"{len(self.regions.positions)}, channels). Received: y_pred.shape={tuple(y_pred.shape)}"
            )
        positive_mask, batch_mask = self.masks(y_true)
        logits = self._logits(normalise(y_pred))  # (R, M, 1 + K, M)
        positive_logits = logits[:, :, 0]
        negative_lse = self._negative_lse(logits[:, :, 1:], positive_logits, batch_mask)  # (R, M, M)
        terms = ops.mean(info_nce_terms(positive_logits, negative_lse), axis=0)  # (M, M)
        positive_mask = ops.cast(positive_mask, terms.dtype)
        return ops.sum(positive_mask * terms, axis=-1) * structure_ids.per_pair(positive_mask)

    def masks(self, ids: Any) -> tuple[Any, Any]:
        """Returns who is compared with whom.

        Args:
            ids: (M, 3) structure ids.

        Returns:
            (M, M) float32, 1 where map b is a positive of anchor map a; (M, M) boolean, where the same region of map b
            serves as an extra negative of a.
        """
        slot, partition, view = structure_ids.split_ids(ids)
        valid = structure_ids.both(slot >= 0)
        same_slot, same_partition = structure_ids.equal(slot), structure_ids.equal(partition)
        same_view = structure_ids.equal(view)
        positives = same_partition & same_slot & ~same_view
        if self.exp_no == 1:
            positives = positives | (same_partition & ~same_slot & same_view)
        related = same_partition & same_slot if self.exp_no == 0 else same_partition
        extra = ~related & valid if self.batch_negatives else ops.zeros_like(valid)
        return ops.cast(positives & valid, "float32"), extra

    def random_level(self, ids: Any) -> float:
        """Returns the loss of embeddings that say nothing (all cosines equal); learning falls below it.

        With k negatives per region in both directions it is 2 log(1 + 2 k).

        Args:
            ids: (M, 3) structure ids of a batch.
        """
        positives, extra = (ops.convert_to_numpy(mask) for mask in self.masks(ids))
        in_pair = 2 * self.regions.negative_mask.sum(axis=-1)  # (R,)
        terms = np.log1p(in_pair[None, :] + extra.sum(axis=-1)[:, None]).mean(axis=-1)  # (M,)
        factor = ops.convert_to_numpy(structure_ids.per_pair(positives))
        return float(np.mean(positives.sum(axis=-1) * terms * factor))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "regions": self.regions.get_config()}

    def _logits(self, embeddings: Any) -> Any:
        """Returns s(a at a region, b at the same region or at one of its K negatives), (R, M, 1 + K, M).

        Args:
            embeddings: (M, U, D) normalised.
        """
        num_regions, width = self._compared.shape
        num_maps, channels = ops.shape(embeddings)[0], embeddings.shape[-1]
        by_position = ops.transpose(embeddings, (1, 0, 2))  # (U, M, D): whole rows are gathered, which is quick
        compared = ops.take(by_position, self._compared, axis=0)  # (R, 1 + K, M, D)
        anchors = compared[:, 0] / self.temperature
        others = ops.reshape(compared, (num_regions, width * num_maps, channels))
        logits = ops.matmul(anchors, ops.transpose(others, (0, 2, 1)))  # (R, M, (1 + K) M)
        return ops.reshape(logits, (num_regions, num_maps, width, num_maps))

    def _negative_lse(self, logits: Any, positive_logits: Any, batch_mask: Any) -> Any:
        """Returns (R, M, M), for region, anchor map and partner map the log-sum-exp over all negatives."""
        in_partner = masked_logsumexp(logits, self._is_compared[:, None, 1:, None], axis=2)  # (R, M, M)
        is_self = ops.eye(ops.shape(batch_mask)[0], dtype="bool")
        in_anchor = ops.sum(ops.where(is_self, in_partner, 0.0), axis=-1, keepdims=True)  # (R, M, 1)
        parts = [in_partner, ops.broadcast_to(in_anchor, ops.shape(in_partner))]
        if self.batch_negatives:
            in_batch = masked_logsumexp(positive_logits, batch_mask)[..., None]
            parts.append(ops.broadcast_to(in_batch, ops.shape(in_partner)))
        return masked_logsumexp(ops.stack(parts, axis=-1), True)


def _compared_positions(regions: RegionTable) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each region the places of itself and its negatives, and which of these entries are real.

    Both are (R, 1 + K), K the largest number of negatives; a region with fewer is filled up.
    """
    mask = regions.negative_mask
    most = int(mask.sum(axis=-1).max())
    negatives = np.argsort(~mask, axis=-1, kind="stable")[:, :most]
    is_negative = np.take_along_axis(mask, negatives, axis=-1)
    own = np.arange(regions.num_regions)[:, None]
    places = np.concatenate([own, negatives], axis=-1).astype(np.int32)
    return places, np.concatenate([np.ones_like(own, bool), is_negative], axis=-1)
