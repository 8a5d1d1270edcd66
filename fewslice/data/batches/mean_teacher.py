"""Batches of labelled and unlabelled slices for methods whose teacher makes the targets within the step.

As all batches, each is a pure function of its generator (`samplers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fewslice.augment.affine import random_affine
from fewslice.augment.copy_paste import copy_paste, copy_paste_boxes
from fewslice.augment.cutmix import cutmix_boxes, mix
from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.augment.strong_view import strong_view
from fewslice.data.batches.contrastive import SegmentationBatch, gather_slices, sample_slices, segmentation_batch


class TaughtBatch(NamedTuple):
    """Rows of a step."""

    images: np.ndarray  # (N, H, W, 1) float32, in the order that the network of the method wants
    labels: np.ndarray  # (n, H, W, K) float32, of the labelled rows
    targets: np.ndarray  # of the loss of the unlabelled rows, see there
    labelled_sources: np.ndarray  # (n, 2) int32: volume and slice of the labelled rows
    unlabelled_sources: np.ndarray  # (u, 2) int32: the same for the unlabelled ones


UnlabelledRows = Callable[[np.random.Generator, SegmentationBatch, np.ndarray], tuple[Sequence[np.ndarray], np.ndarray]]


def taught_batch(
    rng: np.random.Generator | int,
    labelled: Sequence[Any],
    others: Sequence[Any],
    make_rows: UnlabelledRows,
    *,
    counts: tuple[int, int],
    num_classes: int,
    augmentation: SegmentationAugmentation | None = None,
    oversample: float = 0.0,
) -> TaughtBatch:
    """Makes a batch of labelled slices and of the rows that a method makes from unlabelled ones.

    Args:
        rng: Draws the labelled rows, the unlabelled slices, their affine change, then what `make_rows` needs.
        labelled: Volumes with `image` and `label`.
        others: Volumes with `image`.
        make_rows: `unimatch_rows` or `copy_paste_rows`.
        counts: n labelled and u unlabelled slices.
        num_classes: K, background included.
        augmentation, oversample: Of the labelled slices, see `segmentation_batch`.

    Returns:
        Images [n labelled | rows of the method] and their targets.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    how = {"num_classes": num_classes, "augmentation": augmentation, "oversample": oversample}
    known = segmentation_batch(rng, labelled, batch_size=counts[0], **how)
    sources = sample_slices(rng, [len(volume.image) for volume in others], counts[1]).astype(np.int32)
    slices = gather_slices(others, sources)
    weak, _ = random_affine(rng, slices, np.zeros(slices.shape[:3], np.uint8))
    rows, targets = make_rows(rng, known, weak)
    return TaughtBatch(np.concatenate([known.images, *rows]), known.labels, targets, known.sources, sources)


def unimatch_rows(
    rng: np.random.Generator | int, known: SegmentationBatch, weak: np.ndarray
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Returns the rows of `models.build_unimatch_net` and the targets of `losses.WeakToStrong`.

    Args:
        rng: Draws each strong view and its boxes.
        known: The labelled rows.
        weak: (u, H, W, 1) float32, unlabelled slices after an affine change.

    Returns:
        Images [u weak | u strong | u strong], targets (u, H, W, 2) float32: the boxes of CutMix.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    views, boxes = [], []
    for _ in range(2):
        view = strong_view(rng, weak)
        box = cutmix_boxes(rng, view.shape[:3])
        views.append(mix(view, np.roll(view, 1, axis=0), box))
        boxes.append(box)
    return [weak, *views], np.stack(boxes, axis=-1).astype(np.float32)


def copy_paste_rows(
    rng: np.random.Generator | int, known: SegmentationBatch, weak: np.ndarray
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Returns the rows of `models.build_copy_paste_net` and the targets of `losses.CopyPaste`.

    Row i of the unlabelled slices is mixed with row i of the labelled ones, or i modulo n if there are fewer of these.

    Args:
        rng: Draws the boxes.
        known, weak: As for `unimatch_rows`.

    Returns:
        Images [u mixed | u unlabelled], targets (u, H, W, K + 1) float32: labels of the labelled slice of each mixed
        row, then 1 where it shows the unlabelled one.
    """
    rows = np.arange(len(weak)) % len(known.images)
    unknown = np.zeros((*weak.shape[:3], known.labels.shape[-1]), np.float32)
    boxes = copy_paste_boxes(rng, weak.shape[:3])
    mixed, labels, is_unlabelled = copy_paste((known.images[rows], known.labels[rows]), (weak, unknown), boxes=boxes)
    return [mixed, weak], np.concatenate([labels, is_unlabelled[..., None]], axis=-1, dtype=np.float32)
