"""Overlap and surface distances of two segmentations on one grid.

Definitions. The surface of a mask holds its voxels that have a neighbour outside the mask across one of their
six faces (the mask minus its erosion); voxels beyond the image count as outside. For every surface voxel of
one mask, the distance is that to the nearest surface voxel of the other, between voxel centres, in mm. With
the directed distances d(truth, prediction) and d(prediction, truth):

  HD95 = max(95th percentile of d(truth, prediction), 95th percentile of d(prediction, truth)),
  ASSD = mean of both lists put together,
  NSD(t) = share of both lists put together that is t or less (normalised surface Dice at a tolerance of t mm).

HD95 in mm is the larger of two percentiles (as in MetricsReloaded). `hd95_voxels` is what many papers of weak
supervision report: the percentile of the pooled distances (as in MedPy), every voxel counted as a cube of edge 1.
Percentiles interpolate linearly. A metric that is undefined is NaN, never 0 or a large number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.spatial

from fewslice.core.registry import Registry

METRICS = Registry("metric")
"""Further scores that a dataset names in `metrics`: functions of truth and prediction (X, Y, Z), the numbers of the
true objects or None, and the number of classes, which return name -> (K - 1,) values. Attributes: `definitions`, name
-> text of what has means; `needs_all` voxels annotated; `pool`, None or name -> (volumes, K - 1) values -> theirs.
"""
_SPARSE = 12  # voxels of the box per surface voxel from which a k-d tree is faster than a distance transform


def dice_per_class(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the Dice coefficient of every class, background included: 2 |T and P| / (|T| + |P|).

    Args:
        truth: Integer labels 0 ... num_classes - 1, any shape.
        prediction: The same shape and range.
        num_classes: K.

    Returns:
        (K,) float64; 0 for a class that occurs in one of the two only, NaN for one that occurs in neither.

    Raises:
        ValueError: shapes differ, or labels are no integers of the range.

    Notes:
        Differs from the published code, whose array leaves out classes that occur in neither, so that later
        classes move to a wrong place.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(f"Shapes must agree. Received: truth {truth.shape}, prediction {prediction.shape}")
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "biu":
            raise ValueError(f"`{name}` must hold integers. Received: {labels.dtype}")
        if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
            raise ValueError(
                f"`{name}` must hold labels 0 ... {num_classes - 1}. Received: {labels.min()} ... {labels.max()}"
            )
    pairs = truth.astype(np.int32).ravel() * num_classes + prediction.ravel()
    table = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    sizes = table.sum(axis=0) + table.sum(axis=1)
    dice = np.full(num_classes, np.nan)
    np.divide(2.0 * np.diagonal(table), sizes, out=dice, where=sizes > 0)
    return dice


def mean_foreground(per_class: np.ndarray) -> float:
    """Returns the mean over the classes 1 ... K - 1 that are not NaN; NaN if there is none.

    Args:
        per_class: (K,), background first.
    """
    present = np.asarray(per_class, np.float64)[1:]
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else float("nan")


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Directed distances between two surfaces, in mm. Both lists hold a single NaN if either mask is empty.

    Attributes:
        from_truth: (N,) float64, from each surface voxel of the truth to the surface of the prediction.
        from_prediction: (M,) float64, the other direction.
    """

    from_truth: np.ndarray
    from_prediction: np.ndarray

    def pooled(self) -> np.ndarray:
        """Returns (N + M,) float64, both directions, mm."""
        return np.concatenate([self.from_truth, self.from_prediction])

    def hd95(self) -> float:
        """Returns the larger 95th percentile of the two directions, mm."""
        return float(max(np.percentile(self.from_truth, 95), np.percentile(self.from_prediction, 95)))

    def assd(self) -> float:
        """Returns the average symmetric surface distance: the mean of all distances of both directions, mm."""
        return float(self.pooled().mean())

    def nsd(self, tolerance_mm: float) -> float:
        """Returns the normalised surface Dice, 0 to 1: the share of surface voxels this near to the other surface.

        Source: S. Nikolov et al., https://arxiv.org/abs/1809.04430. Surface voxels count equally here, as in
        MetricsReloaded; there each counts by the area of its surface element.
        """
        distances = self.pooled()
        return float(np.mean(distances <= tolerance_mm * (1 + 1e-9))) if np.isfinite(distances).all() else float("nan")


def surface_distances(
    truth_mask: np.ndarray, prediction_mask: np.ndarray, spacing_mm: Sequence[float]
) -> SurfaceDistances:
    """Measures the distances between the surfaces of two masks.

    Exact, within the bounding box of both masks: by k-d trees where few of its voxels are surface, else by Euclidean
    distance transforms, which need about 70 bytes per voxel of it.

    Args:
        truth_mask: (X, Y, Z) bool (or 2-D); non-zero is inside.
        prediction_mask: The same shape.
        spacing_mm: Size of a voxel along each axis.

    Raises:
        ValueError: shapes or the number of spacings disagree, or a spacing is not positive.
    """
    truth, prediction = np.asarray(truth_mask, bool), np.asarray(prediction_mask, bool)
    spacing = np.asarray(spacing_mm, np.float64)
    if truth.shape != prediction.shape or spacing.shape != (truth.ndim,):
        raise ValueError(
            "Masks must have one shape, with one spacing per axis. "
            f"Received: {truth.shape}, {prediction.shape}, {spacing_mm}"
        )
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"`spacing_mm` must be positive. Received: {spacing_mm}")
    if not truth.any() or not prediction.any():
        return SurfaceDistances(np.full(1, np.nan), np.full(1, np.nan))
    (box,) = scipy.ndimage.find_objects((truth | prediction).astype(np.uint8))
    surfaces = [mask[box] & ~scipy.ndimage.binary_erosion(mask[box]) for mask in (truth, prediction)]  # six faces
    if _SPARSE * sum(map(np.count_nonzero, surfaces)) < surfaces[0].size:
        points = [np.argwhere(one) * spacing for one in surfaces]
        trees = [scipy.spatial.cKDTree(one, compact_nodes=False, balanced_tree=False) for one in points]
        return SurfaceDistances(trees[1].query(points[0])[0], trees[0].query(points[1])[0])
    to_truth, to_prediction = (scipy.ndimage.distance_transform_edt(~one, sampling=spacing) for one in surfaces)
    return SurfaceDistances(from_truth=to_prediction[surfaces[0]], from_prediction=to_truth[surfaces[1]])


def hd95_voxels(truth_mask: np.ndarray, prediction_mask: np.ndarray) -> float:
    """Returns the 95th percentile of the pooled surface distances in voxels, whatever their mm; NaN if one is empty."""
    measured = surface_distances(truth_mask, prediction_mask, (1.0,) * np.ndim(truth_mask))
    return float(np.percentile(measured.pooled(), 95))


def pooled_dice(counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the Dice of the pixels of all volumes together, from the counts of `pixels`; 1 if there are none."""
    common, both = (counts[name].sum(axis=0) for name in ("pixels_common", "pixels_both"))
    return {"pixel_dice": np.divide(2 * common, both, out=np.ones(both.shape), where=both > 0)}


_PIXEL_DICE = "Dice with 1 where a structure is absent in both, of each volume and pooled: of all pixels together"


@METRICS.register("pixels", definitions={"pixel_dice": _PIXEL_DICE}, needs_all=False, pool=pooled_dice)
def pixels(
    truth: np.ndarray, prediction: np.ndarray, instances: np.ndarray | None, num_classes: int
) -> dict[str, np.ndarray]:
    """Returns "pixel_dice", as published code for GlaS scores (but exactly 0 for what is missed), and its counts."""
    masks = [(truth == label, prediction == label) for label in range(1, num_classes)]
    counts = {
        "pixels_common": np.array([np.count_nonzero(a & b) for a, b in masks]),
        "pixels_both": np.array([np.count_nonzero(a) + np.count_nonzero(b) for a, b in masks]),
    }
    return {**pooled_dice({name: values[np.newaxis] for name, values in counts.items()}), **counts}
