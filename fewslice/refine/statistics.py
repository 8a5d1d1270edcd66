"""What refinement did to the labels of a volume: pixels changed, sizes, structures lost, agreement with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewslice.evaluate.metrics import dice_per_class


@dataclass(frozen=True, eq=False)
class RefinementStatistics:
    """Labels of one volume before and after refinement.

    Attributes:
        changed: Share of all pixels whose class changed, in [0, 1].
        changed_foreground: Share of those that are no background before or after (their union); NaN if there are
            none.
        before: (K,) int64 pixels per class, background first.
        after: (K,) int64, the same after refinement.
        lost: Classes that occur before and not after, ascending.
        slices_lost: (K,) int64, in how many slices a class that occurred before is gone.
        num_pixels: Of the volume.
        num_foreground: Of the union.
    """

    changed: float
    changed_foreground: float
    before: np.ndarray
    after: np.ndarray
    lost: tuple[int, ...]
    slices_lost: np.ndarray
    num_pixels: int
    num_foreground: int

    def as_dict(self) -> dict[str, Any]:
        """Returns plain numbers and lists; None for an undefined share."""
        return {
            "changed": self.changed,
            "changed_foreground": None if np.isnan(self.changed_foreground) else self.changed_foreground,
            "before": self.before.tolist(),
            "after": self.after.tolist(),
            "lost": list(self.lost),
            "slices_lost": self.slices_lost.tolist(),
        }


@dataclass(frozen=True, eq=False)
class RefinementTotals:
    """The same over several volumes.

    Attributes:
        changed: Share of all pixels whose class changed.
        changed_foreground: Share of the pixels that are no background before or after; NaN if there are none.
        before: (K,) int64 pixels per class.
        after: (K,) int64, the same after refinement.
        volumes_lost: (K,) int64, how many volumes lost each class.
        slices_lost: (K,) int64, in how many slices each class is gone.
    """

    changed: float
    changed_foreground: float
    before: np.ndarray
    after: np.ndarray
    volumes_lost: np.ndarray
    slices_lost: np.ndarray


def refinement_statistics(before: np.ndarray, after: np.ndarray, num_classes: int) -> RefinementStatistics:
    """Compares the labels of one volume before and after refinement.

    Args:
        before: (N, H, W) integer, classes 0 ... num_classes - 1.
        after: The same shape and range.
        num_classes: K, with the background.

    Raises:
        ValueError: shapes differ or are not (N, H, W), or labels are no integers of the range.
    """
    before, after = np.asarray(before), np.asarray(after)
    if before.ndim != 3 or before.shape != after.shape:
        raise ValueError(f"`before` and `after` must both be (N, H, W). Received: {before.shape} and {after.shape}")
    counts_before = _counts_per_slice(before, num_classes, "before")
    counts_after = _counts_per_slice(after, num_classes, "after")
    sizes_before, sizes_after = counts_before.sum(axis=0), counts_after.sum(axis=0)
    num_changed = int(np.count_nonzero(before != after))
    num_foreground = int(np.count_nonzero((before > 0) | (after > 0)))
    return RefinementStatistics(
        changed=_share(num_changed, before.size),
        changed_foreground=_share(num_changed, num_foreground),
        before=sizes_before,
        after=sizes_after,
        lost=tuple(np.flatnonzero((sizes_before > 0) & (sizes_after == 0)).tolist()),
        slices_lost=np.count_nonzero((counts_before > 0) & (counts_after == 0), axis=0),
        num_pixels=before.size,
        num_foreground=num_foreground,
    )


def total(volumes: Sequence[RefinementStatistics]) -> RefinementTotals:
    """Adds up several volumes of one number of classes.

    Shares are those of all pixels taken together, so a large volume counts more.

    Raises:
        ValueError: no volumes.
    """
    if not volumes:
        raise ValueError("`volumes` must not be empty.")
    lost = np.zeros_like(volumes[0].before)
    for volume in volumes:
        lost[list(volume.lost)] += 1
    num_pixels = sum(volume.num_pixels for volume in volumes)
    num_changed = sum(round(volume.changed * volume.num_pixels) for volume in volumes if volume.num_pixels)
    return RefinementTotals(
        changed=_share(num_changed, num_pixels),
        changed_foreground=_share(num_changed, sum(volume.num_foreground for volume in volumes)),
        before=np.sum([volume.before for volume in volumes], axis=0),
        after=np.sum([volume.after for volume in volumes], axis=0),
        volumes_lost=lost,
        slices_lost=np.sum([volume.slices_lost for volume in volumes], axis=0),
    )


def agreement(truth: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the Dice of every class, (K,) float64, background first; NaN where a class occurs in neither.

    For reports only: the truth of unlabelled volumes must not reach training or any choice.

    Args:
        truth: Integer labels 0 ... num_classes - 1, any shape.
        labels: The same shape and range.
        num_classes: K.

    Raises:
        ValueError: shapes differ, or labels are no integers of the range.
    """
    return dice_per_class(truth, labels, num_classes)


def _counts_per_slice(labels: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    """Returns (N, K) int64."""
    if labels.dtype.kind not in "biu" or (labels.size and (labels.min() < 0 or labels.max() >= num_classes)):
        raise ValueError(f"`{name}` must hold integers 0 ... {num_classes - 1}. Received: {_range(labels)}")
    counts = [np.bincount(label.ravel(), minlength=num_classes) for label in labels]
    return np.array(counts, np.int64).reshape(len(labels), num_classes)


def _range(labels: np.ndarray) -> str:
    return f"{labels.min()} ... {labels.max()} ({labels.dtype})"


def _share(count: int, whole: int) -> float:
    return count / whole if whole else float("nan")
