"""Typical units of clusters that have no annotation yet."""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.typical import cluster_units, typical_units
from fewslice.active.query import FEATURES, Choice, Query, register
from fewslice.settings.declare import Count


@register("typiclust", needs=(FEATURES,))
def typiclust(query: Query, *, min_cluster_size: int = 5, max_num_clusters: Count = 500, k_nn: Count = 20) -> Choice:
    """Clusters all units and takes from one cluster after the other the unit that has the nearest neighbours.

    Args:
        min_cluster_size: Clusters of this size or smaller are left out, unless all are.
        max_num_clusters: There are as many clusters as units annotated afterwards, but not more than this.
        k_nn: Neighbours that typicality looks at, at most; half a cluster where that is less.

    Source: Hacohen et al., 2022, arXiv 2202.02794.

    Notes:
        Differs from the published code: two members of a cluster are equally typical, ties are broken at random (there
        the mean over no neighbour is NaN, and the first is taken); if no cluster is large enough all stay (there
        it stops with a division by zero).

    Example:
        >>> rows = np.array([[0, 0], [0.1, 0], [5, 0], [5.1, 0], [0, 9], [0.1, 9]])
        >>> fewslice.select("typiclust", rows, budget=3, min_cluster_size=1).tolist()  # one of each pair
        [3, 5, 0]
    """
    count = min(len(query.labelled) + query.budget, max_num_clusters, len(query.pool))
    clusters = cluster_units(query.features, count, rng=query.rng)
    chosen, values = typical_units(query, clusters, min_cluster_size=min_cluster_size, k_nn=k_nn)
    rest = np.setdiff1d(query.candidates, chosen)
    missing = query.budget - len(chosen)
    filled = query.rng.choice(rest, missing, replace=False) if missing else rest[:0]
    return Choice(np.concatenate([chosen, filled]), np.concatenate([values, np.full(missing, np.nan)]))
