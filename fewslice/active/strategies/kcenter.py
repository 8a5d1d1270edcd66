"""k-center on embeddings: the units farthest from everything annotated, so that these cover the pool."""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.kcenter import euclidean_k_center
from fewslice.active.query import Choice, Query, register


@register("kcenter", needs=("features",))
def kcenter(query: Query) -> Choice:
    """Chooses by greedy k-center on Euclidean distances of the embeddings; ties go to the lowest index.

    Example:
        >>> rows = np.array([[0.0], [1.0], [2.0], [10.0]])
        >>> fewslice.select("kcenter", rows, budget=2, labelled=[0]).tolist()
        [3, 2]
    """
    features = np.asarray(query.features).reshape(len(query.pool), -1)
    return euclidean_k_center(features, query.budget, labelled=query.labelled, rng=query.rng)
