"""Training batches from volumes in memory or memory-mapped, each a pure function of its generator.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511. A plan says how many volumes, partitions and views a
contrastive batch has and which row is which; the losses work from the ids of the rows (volume slot, partition, view).
A volume is cut into `n_parts` partitions of consecutive slices; slices of one partition show about the same anatomy in
every volume, since volumes are roughly aligned along depth.

A volume is an array (depth, H, W), or an object with such arrays as `image` and, where labels are needed,
`label` (`fewslice.data.cache.PreparedVolume`); `case.case_id` names it in messages.

Notes:
    Differs from the published code, which fixed the number of rows first (4 * bt_size, or 5 * bt_size + 4) and left
    those that no group of blocks filled black: 16 of 48 in the default setting. Here the number of volumes follows from
    `bt_size` and `n_parts`, every row is filled, and sizes that do not fit, or too few volumes, raise. There partitions
    had floor(depth / n_parts) slices each, so that the last depth mod n_parts slices were never drawn; and the volumes
    of one batch were drawn in two calls, so that a volume could be its own partner; here each is drawn once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fewslice.augment.mixup import random_mixup
from fewslice.augment.pretraining import augmented_view
from fewslice.augment.segmentation import SegmentationAugmentation, augment_segmentation_batch, forget_mixtures, one_hot
from fewslice.core.errors import ConfigError
from fewslice.data.volume import with_channel_axis


@dataclass(frozen=True)
class BatchPlan:
    """The shape of a contrastive batch."""

    num_slots: int  # volumes (or, without partitions, slices) in the batch
    n_parts: int  # partitions of each; 1 without partitions
    num_views: int  # views of each slice
    include_original: bool  # whether view 0 is the slice as it is
    use_partitions: bool  # whether slices are drawn by partition; otherwise uniformly from all slices
    draws: int = 1  # independent draws of brightness and contrast per view

    @property
    def num_rows(self) -> int:
        """Rows of the batch."""
        return self.num_slots * self.n_parts * self.num_views

    def ids(self) -> np.ndarray:
        """Returns (num_rows, 3) int32: volume slot, partition, view of each row.

        Rows run slot by slot, then view by view, then partition by partition: [a, ã, b, b̃, ...], each a
        block of `n_parts` rows; without partitions ã₀, â₀, ã₁, â₁, ...
        """
        grid = np.indices((self.num_slots, self.num_views, self.n_parts), dtype=np.int32).reshape(3, -1)
        return np.ascontiguousarray(grid[[0, 2, 1]].T)


def _slots(bt_size: int, n_parts: int, *, slices_per_bt: int, least: int) -> int:
    """Returns bt_size * slices_per_bt / n_parts if that is a whole number of at least `least` volumes."""
    slices = bt_size * slices_per_bt
    if slices % n_parts == 0 and slices // n_parts >= least:
        return slices // n_parts
    step = n_parts // math.gcd(n_parts, slices_per_bt)
    smallest = step * math.ceil(least * n_parts / (slices_per_bt * step))
    below = max(bt_size // step * step, smallest)
    near = sorted({below, max(-(-bt_size // step) * step, smallest)})
    raise ConfigError(
        f"`bt_size`={bt_size} does not give {least} or more whole volumes of `n_parts`={n_parts} partitions "
        f"({slices} slices). Use --bt_size={' or '.join(map(str, near))}, or another --n_parts."
    )


def plan_global_batch(exp_no: int, bt_size: int, n_parts: int) -> BatchPlan:
    """Returns the plan of a batch for global pre-training.

    exp_no 0 (G^R): 2 augmented views of bt_size slices. 1 (G^D-): original and 2 augmented views of bt_size
    slices, bt_size / n_parts volumes. 2 (G^D): original and augmented view, 4 * bt_size rows, 2 * bt_size /
    n_parts volumes. 3, 4: original and 2 augmented views, about 4 * bt_size rows.

    Args:
        exp_no: Variant, 0 to 4.
        bt_size: The batch size of the command line, at least 1.
        n_parts: Partitions of a volume, at least 1; not used by variant 0.

    Raises:
        ConfigError: A `bt_size` that leaves a volume incomplete; the message names the nearest that do not.
    """
    if exp_no == 0:
        return BatchPlan(bt_size, 1, num_views=2, include_original=False, use_partitions=False)
    if exp_no == 1:
        slots = _slots(bt_size, n_parts, slices_per_bt=1, least=1)
        return BatchPlan(slots, n_parts, num_views=3, include_original=True, use_partitions=True)
    if exp_no == 2:
        slots = _slots(bt_size, n_parts, slices_per_bt=2, least=2)
        return BatchPlan(slots, n_parts, num_views=2, include_original=True, use_partitions=True, draws=2)
    slots = max(2, round(4 * bt_size / (3 * n_parts)))
    return BatchPlan(slots, n_parts, num_views=3, include_original=True, use_partitions=True, draws=2)


def plan_local_batch(exp_no: int, bt_size: int, n_parts: int) -> BatchPlan:
    """Returns the plan of a batch for local pre-training.

    exp_no 0 (L^R): 2 views of bt_size slices. 1 (L^D): 2 views of bt_size slices, bt_size / n_parts volumes,
    2 at least.

    Args:
        exp_no: Variant, 0 or 1.
        bt_size: Slices of the batch.
        n_parts: Partitions of a volume; not used by variant 0.

    Raises:
        ConfigError: As for `plan_global_batch`.
    """
    if exp_no == 0:
        return BatchPlan(bt_size, 1, num_views=2, include_original=False, use_partitions=False)
    slots = _slots(bt_size, n_parts, slices_per_bt=1, least=2)
    return BatchPlan(slots, n_parts, num_views=2, include_original=False, use_partitions=True)


def partition_edges(depths: np.ndarray, n_parts: int) -> np.ndarray:
    """Returns the bounds of the partitions of volumes: (volumes, n_parts + 1) integers, increasing.

    Partition k is [edges[k], edges[k + 1]) with edge k = floor(k * depth / n_parts), so sizes differ by one at most and
    every slice belongs to one.
    """
    return np.arange(n_parts + 1) * depths[:, None] // n_parts


def locate_slices(flat: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    """Returns (n, 2) int64, volume and slice index of positions (n,) in the concatenation of volumes of `depths`."""
    ends = np.cumsum(depths)
    volumes = np.searchsorted(ends, flat, side="right")
    return np.stack([volumes, flat - (ends - np.asarray(depths))[volumes]], axis=1)


def sample_slices(rng: np.random.Generator | int, depths: Sequence[int], count: int) -> np.ndarray:
    """Draws slices uniformly from all slices of volumes of `depths`, with replacement.

    Returns:
        (count, 2) int64: volume index, slice index.

    Raises:
        ConfigError: There are no slices.
    """
    total = int(sum(depths))
    if total == 0:
        raise ConfigError("There are no slices to draw from: the split has no volumes. Choose another split.")
    return locate_slices(np.random.default_rng(rng).integers(total, size=count), depths)


def check_number_of_volumes(needed: int, available: int) -> None:
    """Raises `ConfigError` if a batch needs more volumes than a split has."""
    if needed > available:
        raise ConfigError(
            f"The batch needs {needed} different volumes, but the split has {available}. "
            "Use a smaller --bt_size, a larger --n_parts (fewer volumes per batch) or a larger split."
        )


def sample_partitions(
    rng: np.random.Generator | int,
    depths: Sequence[int],
    num_volumes: int,
    n_parts: int,
    *,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws volumes without repetition and one slice from each partition of each.

    Args:
        rng: Draws the volumes, then the slices volume by volume.
        depths: Slices of each volume.
        num_volumes, n_parts: Volumes, and partitions of each.
        names: Of the volumes, for messages.

    Returns:
        (num_volumes, n_parts, 2) int64: volume index, slice index.

    Raises:
        ConfigError: Fewer volumes than asked for, or a volume with fewer slices than partitions
            (whether or not it would be drawn).
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    check_number_of_volumes(num_volumes, len(depths))
    shallow = [
        f"{names[index] if names else f'volume {index}'} ({depth})"
        for index, depth in enumerate(depths)
        if depth < n_parts
    ]
    if shallow:
        fewest = max(1, min(depths))
        raise ConfigError(
            f"`n_parts`={n_parts} partitions need as many slices, but some volumes have fewer: {', '.join(shallow)}. "
            f"Use --n_parts={fewest} or less, or leave them out of the split."
        )
    volumes = rng.permutation(len(depths))[:num_volumes]
    edges = partition_edges(np.asarray(depths)[volumes], n_parts)
    slices = rng.integers(edges[:, :-1], edges[:, 1:])  # (num_volumes, n_parts)
    return np.stack([np.broadcast_to(volumes[:, None], slices.shape), slices], axis=-1)


class ContrastiveBatch(NamedTuple):
    """Rows of a contrastive batch."""

    images: np.ndarray  # (N, H, W, 1) float32
    ids: np.ndarray  # (N, 3) int32: volume slot, partition, view, see `BatchPlan.ids`
    sources: np.ndarray  # (N, 2) int32: volume index and slice index that a row was made from


class SegmentationBatch(NamedTuple):
    """Rows of a labelled batch."""

    images: np.ndarray  # (N, H, W, 1) float32
    labels: np.ndarray  # (N, H, W, K) float32, one-hot or soft, zeros where not annotated
    sources: np.ndarray  # (N, 2) int32: volume index and slice index


def _array(volume: Any, field: str) -> np.ndarray:
    """Returns the image or label array of a volume."""
    array = volume if field == "image" and isinstance(volume, np.ndarray) else getattr(volume, field, None)
    if array is None:
        raise ConfigError(f"{_name(volume, 0)} has no {field}. Use a split whose volumes have one.")
    return array


def _name(volume: Any, index: int) -> str:
    return getattr(getattr(volume, "case", None), "case_id", f"volume {index}")


def gather_slices(volumes: Sequence[Any], sources: np.ndarray, *, field: str = "image") -> np.ndarray:
    """Copies slices out of volumes.

    Args:
        volumes: Arrays (depth, H, W) or (depth, H, W, C), or objects that hold such arrays.
        sources: (n, 2) integers: volume index, slice index.
        field: "image", "label" or "scribble".

    Returns:
        (n, H, W, C) float32 images, or (n, H, W) labels in their dtype.

    Raises:
        ConfigError: Volumes whose slices differ in size, or that have no such field.
    """
    arrays = [_array(volumes[volume], field) for volume, _ in sources]
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        remedy = "Prepare the data again; of images that keep their sizes (`grid` native) with --set grid=stretch."
        raise ConfigError(f"Slices of one batch must have one size. Found: {sorted(shapes)}. {remedy}")
    dtype = np.float32 if field == "image" else arrays[0].dtype
    out = np.empty((len(arrays), *arrays[0].shape[1:]), dtype)
    for row, (array, (_, index)) in enumerate(zip(arrays, sources, strict=True)):
        out[row] = array[index]
    return with_channel_axis(out) if field == "image" else out


def _draw_sources(rng: np.random.Generator, volumes: Sequence[Any], plan: BatchPlan) -> np.ndarray:
    """Returns (num_slots * n_parts, 2): the slices of a batch, slot by slot, partition by partition."""
    depths = [len(_array(volume, "image")) for volume in volumes]
    if not plan.use_partitions:
        return sample_slices(rng, depths, plan.num_slots)
    names = [_name(volume, index) for index, volume in enumerate(volumes)]
    return sample_partitions(rng, depths, plan.num_slots, plan.n_parts, names=names).reshape(-1, 2)


def _assemble(views: list[np.ndarray], sources: np.ndarray, plan: BatchPlan) -> ContrastiveBatch:
    """Interleaves views into the order of `plan.ids()`."""
    blocks = (plan.num_slots, plan.n_parts)
    images = np.empty((plan.num_slots, plan.num_views, plan.n_parts, *views[0].shape[1:]), np.float32)
    for index, view in enumerate(views):
        images[:, index] = view.reshape(*blocks, *view.shape[1:])
    ids = plan.ids()
    rows = sources.reshape(*blocks, 2)[ids[:, 0], ids[:, 1]].astype(np.int32)
    return ContrastiveBatch(images.reshape(plan.num_rows, *views[0].shape[1:]), ids, rows)


def contrastive_batch(
    rng: np.random.Generator | int,
    volumes: Sequence[Any],
    plan: BatchPlan,
    *,
    box: int | None = None,
    strong: bool = False,
) -> ContrastiveBatch:
    """Makes a batch for global or local pre-training.

    Args:
        rng: Draws the slices, then view after view.
        volumes: Unlabelled volumes.
        box, strong: See `augmented_view`; `box` is None for local views, in which positions correspond.

    Raises:
        ConfigError: Fewer volumes than the plan has, or volumes with fewer slices than partitions.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    sources = _draw_sources(rng, volumes, plan)
    slices = gather_slices(volumes, sources)
    views = [slices] if plan.include_original else []
    while len(views) < plan.num_views:
        views.append(augmented_view(rng, slices, box=box, strong=strong, draws=plan.draws))
    return _assemble(views, sources, plan)


def segmentation_batch(
    rng: np.random.Generator | int,
    volumes: Sequence[Any],
    *,
    batch_size: int,
    num_classes: int,
    augmentation: SegmentationAugmentation | None = None,
    mixup: float = 0.0,
    oversample: float = 0.0,
) -> SegmentationBatch:
    """Makes a labelled batch: annotated slices drawn uniformly with replacement, augmented, with one-hot labels.

    Args:
        rng: Draws the slices, then the augmentation, then the mixtures.
        volumes: Objects with `image` and `label`; drawn are their `annotated_slices`, or all where they have none.
        batch_size: Slices of the batch.
        num_classes: Classes including the background.
        augmentation: None leaves slices and labels as they are.
        mixup: Parameter of the Beta distribution of `random_mixup`; 0 mixes nothing.
        oversample: Share of the slices, rounded, that are drawn among the `structure_slices` of the volumes.

    Raises:
        ConfigError: No volumes, a volume without label, a label outside 0 to num_classes.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    slices = [getattr(volume, "annotated_slices", range(len(_array(volume, "image")))) for volume in volumes]
    showing = [volume.structure_slices for volume in volumes] if oversample else []
    count = round(oversample * batch_size) if any(map(len, showing)) else 0
    parts = [(slices, batch_size - count), (showing, count)] if count else [(slices, batch_size)]
    sources = np.array(
        [
            (volume, table[volume][place])
            for table, size in parts
            for volume, place in sample_slices(rng, [*map(len, table)], size)
        ]
    )
    images = gather_slices(volumes, sources)
    labels = gather_slices(volumes, sources, field="label")
    if augmentation is None:
        onehot = one_hot(labels, num_classes)
    else:
        images, onehot = augment_segmentation_batch(rng, images, labels, num_classes, settings=augmentation)
    if mixup:
        images, onehot = random_mixup(rng, images, onehot=onehot, alpha=mixup)
        if (labels == num_classes).any():
            forget_mixtures(onehot)
    return SegmentationBatch(images, onehot, sources.astype(np.int32))
