"""Training batches from volumes in memory or memory-mapped, each a pure function of its generator.

A caller makes the generator of one step with `np.random.default_rng([seed, epoch, step])`; the batch then
depends on nothing else, whichever thread builds it. What to draw is decided in `sampling_indices`, the layout
in `sampling_plan`.

A volume is an array (depth, H, W), or an object with such arrays as `image` and, where labels are needed,
`label` (`fewslice.data.cache.PreparedVolume`); `case.case_id` names it in messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fewslice.augment.mixup import random_mixup
from fewslice.augment.pretraining import ViewSettings, global_views, local_views
from fewslice.augment.segmentation import SegmentationAugmentation, augment_segmentation_batch, one_hot
from fewslice.core.errors import ConfigError
from fewslice.data.batches.indices import locate_slices, partition_edges, sample_partitions, sample_slices
from fewslice.data.batches.plan import BatchPlan, plan_global_batch, plan_local_batch
from fewslice.data.volume import with_channel_axis

__all__ = [
    "BatchPlan",
    "ContrastiveBatch",
    "SegmentationBatch",
    "gather_slices",
    "global_batch",
    "local_batch",
    "locate_slices",
    "partition_edges",
    "plan_global_batch",
    "plan_local_batch",
    "sample_partitions",
    "sample_slices",
    "segmentation_batch",
]


class ContrastiveBatch(NamedTuple):
    """Rows of a contrastive batch.

    Attributes:
        images: (N, H, W, 1) float32.
        ids: (N, 3) int32: volume slot, partition, view, see `BatchPlan.ids`.
        sources: (N, 2) int32: volume index and slice index that a row was made from.
    """

    images: np.ndarray
    ids: np.ndarray
    sources: np.ndarray


class SegmentationBatch(NamedTuple):
    """Rows of a labelled batch.

    Attributes:
        images: (N, H, W, 1) float32.
        labels: (N, H, W, K) float32, one-hot or soft.
        sources: (N, 2) int32: volume index and slice index.
    """

    images: np.ndarray
    labels: np.ndarray
    sources: np.ndarray


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
        raise ConfigError(f"Slices of one batch must have one size. Found: {sorted(shapes)}. Prepare the data again.")
    dtype = np.float32 if field == "image" else arrays[0].dtype
    out = np.empty((len(arrays), *arrays[0].shape[1:]), dtype)
    for row, (array, (_, index)) in enumerate(zip(arrays, sources, strict=True)):
        out[row] = array[index]
    return with_channel_axis(out) if field == "image" else out


def _draw_sources(rng: np.random.Generator, volumes: Sequence[Any], plan: BatchPlan, published: bool) -> np.ndarray:
    """Returns (num_slots * n_parts, 2): the slices of a batch, slot by slot, partition by partition."""
    depths = [len(_array(volume, "image")) for volume in volumes]
    if not plan.use_partitions:
        return sample_slices(rng, depths, plan.num_slots)
    names = [_name(volume, index) for index, volume in enumerate(volumes)]
    drawn = sample_partitions(rng, depths, plan.num_slots, plan.n_parts, published=published, names=names)
    return drawn.reshape(-1, 2)


def _assemble(views: list[np.ndarray], sources: np.ndarray, plan: BatchPlan) -> ContrastiveBatch:
    """Interleaves views into the order of `plan.ids()`."""
    blocks = (plan.num_slots, plan.n_parts)
    images = np.empty((plan.num_slots, plan.num_views, plan.n_parts, *views[0].shape[1:]), np.float32)
    for index, view in enumerate(views):
        images[:, index] = view.reshape(*blocks, *view.shape[1:])
    ids = plan.ids()
    rows = sources.reshape(*blocks, 2)[ids[:, 0], ids[:, 1]].astype(np.int32)
    return ContrastiveBatch(images.reshape(plan.num_rows, *views[0].shape[1:]), ids, rows)


def global_batch(
    rng: np.random.Generator,
    volumes: Sequence[Any],
    *,
    exp_no: int,
    bt_size: int,
    n_parts: int,
    settings: ViewSettings | None = None,
    published_partitions: bool = False,
) -> ContrastiveBatch:
    """Makes a batch for global pre-training, see `plan_global_batch`.

    Args:
        rng: Draws the slices, then the views.
        volumes: Unlabelled volumes.
        exp_no: Variant, 0 to 4.
        bt_size: The batch size of the command line.
        n_parts: Partitions of a volume.
        settings: How views are made; None takes the published limits.
        published_partitions: See `partition_edges`.

    Returns:
        The batch. No row is blank unless its slice is.

    Raises:
        ConfigError: Sizes that do not fit each other or the volumes, each with what would fit.
    """
    plan = plan_global_batch(exp_no, bt_size, n_parts)
    sources = _draw_sources(rng, volumes, plan, published_partitions)
    views = global_views(
        rng,
        gather_slices(volumes, sources),
        num_views=plan.num_views,
        include_original=plan.include_original,
        settings=settings,
        draws=plan.draws,
    )
    return _assemble(views, sources, plan)


def local_batch(
    rng: np.random.Generator,
    volumes: Sequence[Any],
    *,
    exp_no: int,
    bt_size: int,
    n_parts: int = 4,
    settings: ViewSettings | None = None,
    published_partitions: bool = False,
) -> ContrastiveBatch:
    """Makes a batch for local pre-training, see `plan_local_batch`. Positions in its two views correspond.

    Args:
        rng: Draws the slices, then the views.
        volumes: Unlabelled volumes.
        exp_no: Variant, 0 or 1.
        bt_size: Slices of the batch.
        n_parts: Partitions of a volume.
        settings: How views are made; None takes the published limits.
        published_partitions: See `partition_edges`.

    Returns:
        The batch, 2 * bt_size rows.

    Raises:
        ConfigError: As for `global_batch`.
    """
    plan = plan_local_batch(exp_no, bt_size, n_parts)
    sources = _draw_sources(rng, volumes, plan, published_partitions)
    views = local_views(rng, gather_slices(volumes, sources), settings=settings)
    return _assemble(views, sources, plan)


def segmentation_batch(
    rng: np.random.Generator,
    volumes: Sequence[Any],
    *,
    batch_size: int,
    num_classes: int,
    augmentation: SegmentationAugmentation | None = None,
    mixup: float = 0.0,
) -> SegmentationBatch:
    """Makes a labelled batch: slices drawn uniformly with replacement, augmented, with one-hot labels.

    Args:
        rng: Draws the slices, then the augmentation, then the mixtures.
        volumes: Objects with `image` and `label`.
        batch_size: Slices of the batch.
        num_classes: Classes including the background.
        augmentation: What is done; None leaves slices and labels as they are.
        mixup: Parameter of the Beta distribution of `random_mixup`; 0 mixes nothing.

    Raises:
        ConfigError: No volumes, a volume without label, a label outside 0 to num_classes - 1.
    """
    sources = sample_slices(rng, [len(_array(volume, "image")) for volume in volumes], batch_size)
    images = gather_slices(volumes, sources)
    labels = gather_slices(volumes, sources, field="label")
    if augmentation is None:
        onehot = one_hot(labels, num_classes)
    else:
        images, onehot = augment_segmentation_batch(rng, images, labels, num_classes, settings=augmentation)
    if mixup:
        images, onehot = random_mixup(rng, images, onehot=onehot, alpha=mixup)
    return SegmentationBatch(images, onehot, sources.astype(np.int32))
