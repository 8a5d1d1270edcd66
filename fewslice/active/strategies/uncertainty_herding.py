"""Units that cover the uncertain part of the pool best."""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.coverage import cover_with_kernel, squared_distances, unit_rows
from fewslice.active.query import FEATURES, SCORES, Choice, Query, register
from fewslice.settings.declare import Positive


@register("uncertainty_herding", needs=(FEATURES, SCORES))
def uncertainty_herding(query: Query, *, bandwidth: Positive | None = None, normalise: bool = True) -> Choice:
    """Is `maxherding` with each unit weighted by its score; if one is negative, the smallest is subtracted from all.

    Args:
        bandwidth: Of the kernel. None: the smallest distance between two annotated units that differ, so that
            the kernel narrows as annotations grow dense and scores count for more; 1 if there are no two.
        normalise: Scales features to length 1 first.

    Source: Bae et al., 2025, arXiv 2412.20644, algorithm 1.

    Notes:
        The paper also calibrates the network's temperature on annotated units; that belongs to the scores.

    Example:
        >>> rows = np.array([[0, 0], [0.1, 0], [5, 0], [5.1, 0], [0, 9], [0.1, 9]])
        >>> scores = [0, 0, 0, 1, 1, 0]
        >>> fewslice.select("uncertainty_herding", rows, budget=2, scores=scores, normalise=False).tolist()
        [4, 3]
    """
    rows = unit_rows(query.features, normalise=normalise)
    scores = query.scores[query.candidates].astype(np.float64)
    weights = np.zeros(len(rows))
    weights[query.candidates] = scores - min(scores.min(), 0.0)
    width = smallest_distance(rows[query.labelled]) if bandwidth is None else bandwidth
    return cover_with_kernel(query, rows, width, weights)


def smallest_distance(rows: np.ndarray) -> float:
    """Returns the smallest distance above 0 between two of (n, D) rows, 1 if there is none."""
    smallest = np.inf
    for index in range(1, len(rows)):
        squares = squared_distances(rows[index : index + 1], rows[:index])[0]
        smallest = min(smallest, squares[squares > 0].min(initial=np.inf))
    return float(np.sqrt(smallest)) if np.isfinite(smallest) else 1.0
