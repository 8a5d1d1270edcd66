"""Batches of joint training: which slices, in which pairs, and which pixels of them.

Every step is a pure function of its generator. A batch is [labelled slices for the segmentation loss | first
images of the pairs | second images]; pair p of the contrastive part is rows (p, B + p) of its 2B rows. Images are
not touched here: the caller gathers them (`fewslice.data.batches.contrastive.gather_slices`) and changes their
intensity.

Reference: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.batches.contrastive import locate_slices


class LabelPool:
    """Slices with labels, true ones or pseudo-labels, and which classes each of them shows.

    The labels are read once, here; drawing afterwards touches a table of (slices, classes) only.

    Args:
        labels: One (depth, H, W) array of integers per volume, memory-mapped or not, num_classes = not annotated; not
            copied.
        num_classes: K, background included.
        names: Of the volumes, for messages.
        confidence: One (depth, H, W) uint8 array per volume, 255 where a label is certain; None: all are.

    Attributes:
        depths: Slices of each volume.
        present: (slices, K) boolean, all volumes one after the other; nothing where nothing is annotated.

    Raises:
        ConfigError: There are no slices.
        DataError: A label that is no class, or slices of other size than in the first volume.
    """

    def __init__(
        self,
        labels: Sequence[np.ndarray],
        num_classes: int,
        *,
        names: Sequence[str] | None = None,
        confidence: Sequence[np.ndarray] | None = None,
    ):
        self.confidence = confidence
        self.labels, self.num_classes = list(labels), num_classes
        self.depths = [len(volume) for volume in self.labels]
        if not sum(self.depths):
            raise ConfigError("There are no slices to draw from: the split has no volumes. Choose another split.")
        tables = []
        for index, volume in enumerate(self.labels):
            name = names[index] if names else f"volume {index}"
            tables.append(_classes_of_volume(volume, num_classes, name))
            if volume.shape[1:] != self.labels[0].shape[1:]:
                expected = f"slices of {self.labels[0].shape[1:]} pixels, as in the first volume"
                raise DataError(name, expected=expected, found=f"{volume.shape[1:]}", remedy="Prepare the data again.")
        self.present = np.concatenate(tables)

    def draw(self, rng: np.random.Generator, count: int, min_classes: int, *, what: str = "slices") -> np.ndarray:
        """Draws slices uniformly from those that show enough classes, with replacement.

        Args:
            rng, count: Draws so many slices.
            min_classes: Classes, background included, that a slice must show.
            what: Name of the slices in the message.

        Returns:
            (count, 2) int64: volume index, slice index.

        Raises:
            ConfigError: No slice shows so many.
        """
        counts = self.present.sum(axis=1)
        flat = np.flatnonzero(counts >= min_classes)
        if len(flat) == 0:
            most = int(counts.max())
            raise ConfigError(
                f"None of the {len(counts)} {what} shows {min_classes} of the {self.num_classes} classes (background "
                f"counts): the most are {most}, in {int(np.sum(counts == most))} slices. "
                f"Use min_classes={most} or less, or a split with other volumes."
            )
        return locate_slices(flat[rng.integers(len(flat), size=count)], self.depths)

    def gather(self, sources: np.ndarray) -> np.ndarray:
        """Returns the labels (n, H, W) of slices (n, 2)."""
        return np.stack([self.labels[volume][index] for volume, index in sources])

    def gather_confidence(self, sources: np.ndarray) -> np.ndarray:
        """Returns the confidences (n, H, W) uint8 of slices (n, 2)."""
        if self.confidence is None:
            return np.full((len(sources), *self.labels[0].shape[1:]), 255, np.uint8)
        return np.stack([self.confidence[volume][index] for volume, index in sources])


def _classes_of_volume(volume: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    """Returns (depth, K) boolean, which classes each slice shows."""
    if volume.ndim != 3 or not np.issubdtype(volume.dtype, np.integer):
        expected, found = "labels (depth, height, width) of an integer type", f"shape {volume.shape}, {volume.dtype}"
        raise DataError(name, expected=expected, found=found, remedy="Prepare the volume again.")
    present = np.zeros((len(volume), num_classes + 1), bool)
    for row, labels in zip(present, volume, strict=True):
        counts = np.bincount(labels.ravel()) if labels.min(initial=0) >= 0 else None
        if counts is None or len(counts) > num_classes + 1:
            expected = f"classes 0 to {num_classes - 1}"
            remedy = "Check num_classes in the dataset's settings, or prepare the volume again."
            raise DataError(name, expected=expected, found=f"labels {labels.min()} to {labels.max()}", remedy=remedy)
        row[: len(counts)] = counts > 0
    return present[:, :num_classes]


def pair_table(bt_size: int, exp_no: int) -> np.ndarray:
    """Returns the slices that make the first and the second images of the pairs.

    The slices are h = bt_size // 2 labelled ones, L0, L1, ..., followed by bt_size - h unlabelled ones, U0, U1,
    ... (one more if `bt_size` is odd; unlabelled slices abound). Each is in at least one pair.

        exp_no 0 (intra-image)  every slice with itself
        exp_no 1 (inter-image)  with i counting from 0 in each half: for even i but the last of the half, Li
                                with itself and Ui with itself; else Li with Ui, and U(i-1) with Ui (U0 with
                                itself where there is no other)

    Args:
        bt_size: Pairs B, at least 2.
        exp_no: 0 or 1 (`--local_loss_exp_no`).

    Returns:
        (2, bt_size) int64, first and second image of each pair, as places in [L0, L1, ..., U0, U1, ...].

    Raises:
        ConfigError: `bt_size` below 2.

    Notes:
        For `bt_size` 10 this is the published table, which was written out by hand; the published code fails
        below 10 and leaves images black above.

    >>> pair_table(4, 1).tolist()  # L0|L0, L1|U1, U0|U0, U0|U1
    [[0, 1, 2, 2], [0, 3, 2, 3]]
    """
    if bt_size < 2:
        raise ConfigError(
            f"`bt_size` must be at least 2, a labelled and an unlabelled pair. Received: bt_size={bt_size}"
        )
    half = bt_size // 2
    first = np.arange(bt_size)
    if exp_no == 0:
        return np.stack([first, first])
    labelled, unlabelled = np.arange(half), np.arange(bt_size - half)
    alone = (labelled % 2 == 0) & (labelled < half - 1)
    second = np.where(alone, labelled, half + labelled)
    alone = (unlabelled % 2 == 0) & (unlabelled < bt_size - half - 1)
    before = half + np.where(alone, unlabelled, np.maximum(unlabelled - 1, 0))
    return np.stack([np.concatenate([labelled, before]), np.concatenate([second, half + unlabelled])])


def draw_positions(
    labels_a: np.ndarray, labels_b: np.ndarray, num_classes: int, n_pos: int, rng: np.random.Generator | int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pixels of every foreground class, uniformly and with replacement, in both images of each pair.

    A class that one image of a pair lacks is left out in both.

    Args:
        labels_a: (B, H, W) integers, classes of the first images.
        labels_b: (B, H, W) the same of the second images.
        num_classes: K, background included.
        n_pos: Pixels per class and image.
        rng: Draws pair by pair, class by class, first image before second.

    Returns:
        (2B, K - 1, n_pos, 2) int32 rows and columns, first images before second ones, zero where not valid;
        (2B, K - 1, n_pos) boolean, which are valid.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    shape = (len(labels_a), num_classes - 1, n_pos)
    flat, valid = np.zeros((2, *shape), np.int64), np.zeros((2, *shape), bool)
    for pair, images in enumerate(zip(labels_a, labels_b, strict=True)):
        for row, pixels in enumerate(zip(*(_pixels_of_classes(image, num_classes) for image in images), strict=True)):
            if all(map(len, pixels)):
                for side, places in enumerate(pixels):
                    flat[side, pair, row] = places[rng.integers(len(places), size=n_pos)]
                valid[:, pair, row] = True
    positions = np.stack(np.divmod(flat, np.shape(labels_a)[2]), axis=-1).astype(np.int32)
    return positions.reshape(-1, num_classes - 1, n_pos, 2), valid.reshape(-1, num_classes - 1, n_pos)


def _pixels_of_classes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Returns for classes 1 to K - 1 the places of their pixels in the flattened map, ascending."""
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    classes = flat[places]
    return [places[classes == c] for c in range(1, num_classes)]


class JointBatch(NamedTuple):
    """A step of joint training."""

    segmentation: np.ndarray  # (m, 2) int64, volume and slice in the labelled pool, for the segmentation loss
    labelled: np.ndarray  # (B // 2, 2) int64, slices of the labelled pool for the contrastive loss
    unlabelled: np.ndarray  # (B - B // 2, 2) int64, slices of the other pool for it
    pairs: np.ndarray  # (2B,) int64, for each contrastive row its place in [labelled, unlabelled]
    labels: np.ndarray  # (2B, H, W), class maps of the contrastive rows
    positions: np.ndarray  # (2B, K - 1, n_pos, 2) int32, see `draw_positions`
    valid: np.ndarray  # (2B, K - 1, n_pos) boolean
    confidence: np.ndarray  # (2B, H, W) uint8, of the class maps


@dataclass(frozen=True)
class JointPlan:
    """Sizes of a step."""

    bt_size: int = 10  # pairs of the contrastive part, B >= 2
    exp_no: int = 1  # 0 intra-image, 1 inter-image (`--local_loss_exp_no`)
    num_labelled: int = 20  # slices for the segmentation loss (`mtask_bs`)
    n_pos: int = 3  # pixels per class and image (`--no_of_pos_eles`)
    min_classes: int | None = None  # a contrastive slice shows, background included; None for all, as published
    min_classes_seg: int = 1  # the same for the segmentation loss; published are 3, and 2 for `prostate_md`


def draw_joint_batch(
    rng: np.random.Generator | int, labelled: LabelPool, unlabelled: LabelPool, *, plan: JointPlan
) -> JointBatch:
    """Draws a step of joint training; no step is skipped.

    Args:
        rng: Draws the slices for the segmentation loss, the labelled and the unlabelled ones for the
            contrastive loss, then the pixels.
        labelled: True labels.
        unlabelled: Pseudo-labels (true ones where they are known), same classes and size of slices.

    Raises:
        ConfigError: No slice shows enough classes, or the pools do not fit each other.

    Notes:
        The published code draws 300 slices of each pool, takes the first that show enough classes, and skips
        the step if they are too few; this gives slices uniform over those that qualify, which are drawn here
        at once. There the labelled slices of both losses came from the same 300, so that most contrastive
        ones were in the segmentation batch too; here they are independent.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    sizes = [(pool.num_classes, *pool.labels[0].shape[1:]) for pool in (labelled, unlabelled)]
    if sizes[0] != sizes[1]:
        raise ConfigError(f"Labelled and unlabelled slices differ in (classes, height, width): {sizes[0]}, {sizes[1]}.")
    num_classes, half = labelled.num_classes, plan.bt_size // 2
    least = num_classes if plan.min_classes is None else plan.min_classes
    segmentation = labelled.draw(rng, plan.num_labelled, plan.min_classes_seg, what="labelled slices")
    first = labelled.draw(rng, half, least, what="labelled slices")
    second = unlabelled.draw(rng, plan.bt_size - half, least, what="pseudo-labelled slices")
    table = pair_table(plan.bt_size, plan.exp_no)
    labels = np.concatenate([labelled.gather(first), unlabelled.gather(second)])
    positions, valid = draw_positions(labels[table[0]], labels[table[1]], num_classes, plan.n_pos, rng)
    pairs = table.reshape(-1)
    confidence = np.concatenate([labelled.gather_confidence(first), unlabelled.gather_confidence(second)])
    return JointBatch(segmentation, first, second, pairs, labels[pairs], positions, valid, confidence[pairs])
