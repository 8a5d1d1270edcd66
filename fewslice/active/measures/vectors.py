"""Distances between vectors by name."""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.kcenter import row_distances

METRICS = ("euclidean", "cosine", "dot")


def vector_distances(
    rows: np.ndarray, centre: np.ndarray, metric: str, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Returns the (R,) float64 distances of rows (R, D) to a centre (D,); a row's result does not depend on the others.

    Args:
        rows: Numbers of any type, computed in float64.
        centre: Numbers of any type.
        metric: "euclidean" sqrt(sum w (x - c)^2), "dot" -sum w x c, "cosine" 1 - the cosine of the angle in the
            weighted product, 1 where a vector is zero.
        weights: (D,) or one, not negative.
    """
    rows, centre = np.ascontiguousarray(rows, np.float64), np.asarray(centre, np.float64)
    if metric == "euclidean":
        root = np.sqrt(weights)
        return row_distances(rows * root, centre * root) if np.any(root != 1) else row_distances(rows, centre)
    product = np.sum(rows * centre * weights, axis=1)
    if metric == "dot":
        return -product
    lengths = np.sqrt(np.sum(np.square(rows) * weights, axis=1) * np.sum(np.square(centre) * weights))
    return 1 - np.divide(product, lengths, out=np.zeros(len(rows)), where=lengths > 0)
