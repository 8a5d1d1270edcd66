"""Batches of labelled and unlabelled slices for methods whose teacher makes the targets within the step.

As all batches, each is a pure function of its generator (`samplers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fewslice.augment.affine import random_affine
from fewslice.augment.copy_paste import copy_paste, copy_paste_boxes
from fewslice.augment.cutmix import cutmix_boxes, mix
from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.augment.strong_view import strong_view
from fewslice.data.batches.contrastive import gather_slices, sample_slices, segmentation_batch


class TaughtBatch(NamedTuple):
    """Rows of a step.

    Attributes:
        images: (N, H, W, 1) float32, in the order that the network of the method wants.
        labels: (n, H, W, K) float32, of the labelled rows.
        targets: What the loss of the unlabelled rows needs, see there.
        labelled_sources: (n, 2) int32: volume and slice of the labelled rows.
        unlabelled_sources: (u, 2) int32: the same for the unlabelled ones.
    """

    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    labelled_sources: np.ndarray
    unlabelled_sources: np.ndarray


def unimatch_batch(
    rng: np.random.Generator,
    labelled: Sequence[Any],
    others: Sequence[Any],
    *,
    counts: tuple[int, int],
    num_classes: int,
    augmentation: SegmentationAugmentation | None = None,
) -> TaughtBatch:
    """Makes a batch for `models.build_unimatch_net` and `losses.WeakToStrong`.

    Args:
        rng: Draws the labelled rows, the unlabelled slices, their affine change, then each strong view and its boxes.
        labelled: Volumes with `image` and `label`.
        others: Volumes with `image`.
        counts: n labelled and u unlabelled slices.
        num_classes: K, background included.
        augmentation: Of the labelled slices; None leaves them as they are.

    Returns:
        Images [n labelled | u weak | u strong | u strong], targets (u, H, W, 2) float32: the boxes of CutMix.
    """
    known, weak, sources = _draw(rng, labelled, others, counts, num_classes, augmentation)
    views, boxes = [], []
    for _ in range(2):
        view = strong_view(rng, weak)
        box = cutmix_boxes(rng, *view.shape[:3])
        views.append(mix(view, np.roll(view, 1, axis=0), box))
        boxes.append(box)
    images = np.concatenate([known.images, weak, *views])
    return TaughtBatch(images, known.labels, np.stack(boxes, axis=-1).astype(np.float32), known.sources, sources)


def copy_paste_batch(
    rng: np.random.Generator,
    labelled: Sequence[Any],
    others: Sequence[Any],
    *,
    counts: tuple[int, int],
    num_classes: int,
    augmentation: SegmentationAugmentation | None = None,
) -> TaughtBatch:
    """Makes a batch for `models.build_copy_paste_net` and `losses.CopyPaste`.

    Row i of the unlabelled slices is mixed with row i of the labelled ones, or i modulo n if there are fewer of these.

    Args:
        rng: Draws the labelled rows, the unlabelled slices, their affine change, then the boxes.
        labelled: As for `unimatch_batch`.
        others: As for `unimatch_batch`.
        counts: n labelled and u unlabelled slices.
        num_classes: K, background included.
        augmentation: As for `unimatch_batch`.

    Returns:
        Images [n labelled | u mixed | u unlabelled], targets (u, H, W, K + 1) float32: labels of the labelled slice of
        each mixed row, then 1 where it shows the unlabelled one.
    """
    known, plain, sources = _draw(rng, labelled, others, counts, num_classes, augmentation)
    rows = np.arange(counts[1]) % counts[0]
    boxes = copy_paste_boxes(rng, *plain.shape[:3])
    unknown = np.zeros((*plain.shape[:3], num_classes), np.float32)
    mixed = copy_paste((known.images[rows], known.labels[rows]), (plain, unknown), boxes=boxes, alpha=0.0)
    is_unlabelled = (mixed.weights == 0).astype(np.float32)[..., None]
    targets = np.concatenate([mixed.labels, is_unlabelled], axis=-1)
    return TaughtBatch(
        np.concatenate([known.images, mixed.images, plain]), known.labels, targets, known.sources, sources
    )


def _draw(
    rng: np.random.Generator,
    labelled: Sequence[Any],
    others: Sequence[Any],
    counts: tuple[int, int],
    num_classes: int,
    augmentation: SegmentationAugmentation | None,
):
    """Returns the labelled batch, the unlabelled slices (u, H, W, 1) after an affine change, and their sources."""
    known = segmentation_batch(rng, labelled, batch_size=counts[0], num_classes=num_classes, augmentation=augmentation)
    sources = sample_slices(rng, [len(volume.image) for volume in others], counts[1]).astype(np.int32)
    slices = gather_slices(others, sources)
    weak, _ = random_affine(rng, slices, np.zeros(slices.shape[:3], np.uint8))
    return known, weak, sources
