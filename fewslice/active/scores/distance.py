"""The score of axon and myelin segmentation: uncertainty counts more the farther from the predicted foreground."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from fewslice.active.uncertainty import LAST, SPREAD, SUM, PassStatistics, register
from fewslice.settings.declare import Share

_AREA = 512 * 512  # pixels of the published patches


@register("axon_myelin", needs=(SPREAD, LAST), compares=True, reduce=SUM)
def axon_myelin(statistics: PassStatistics, *, edt: bool = True, threshold: Share = 0.5) -> np.ndarray:
    """Variance over passes of the foreground probability, weighted by the distance to the foreground of the last pass.

    Distances are scaled to [0, 1] in each image. Without foreground all weights are 1, with nothing else 0. By default
    it is summed over a unit, so that larger units score higher (`reduce`).

    Args:
        edt: false: the standard deviation instead, without distances, divided by the predicted foreground of the whole
            image (512 x 512 / (1 + its pixels)).
        threshold: Probability from which a pixel of the last pass is foreground; 1: only where it is certain, as
            published.

    Source: Deep active learning for axon-myelin segmentation, 2019, arXiv 1907.05143, and its notebook.

    Notes:
        Differs from the published code, which measures distances to probabilities of exactly 1; where there are none,
        which is most often, they were a ramp from a corner (SciPy's distance to a point outside the image).
    """
    variance = statistics.spread[..., 0] / statistics.passes
    if edt:
        return variance * relative_distances(statistics.last < threshold)
    is_foreground = statistics.mean[..., 0] < 0.5
    counts = is_foreground.sum(axis=tuple(range(1, is_foreground.ndim)), keepdims=True)
    return np.sqrt(variance) * (_AREA / (1 + counts))


def relative_distances(masks: np.ndarray) -> np.ndarray:
    """Returns (n, *space) float64: each pixel's Euclidean distance to the nearest outside its image's mask, in [0, 1].

    The largest is 1. A mask without pixels is 0 everywhere, one that holds all pixels 1.
    """
    found = masks.astype(np.float64)
    for place, mask in enumerate(masks):
        if mask.any() and not mask.all():
            distances = distance_transform_edt(mask)
            found[place] = distances / distances.max()
    return found
