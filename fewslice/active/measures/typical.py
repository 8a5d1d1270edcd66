"""Typical units, whose neighbours are near (Hacohen et al., 2022, arXiv 2202.02794), and clusters by k-means."""

from __future__ import annotations

import warnings

import numpy as np

from fewslice.active.query import Query, best


def typical_units(
    query: Query, clusters: np.ndarray, *, min_cluster_size: int, k_nn: int
) -> tuple[np.ndarray, np.ndarray]:
    """Takes turns among the clusters, those with the fewest annotated units first, larger ones before smaller ones.

    Args:
        query: Needs features.
        clusters: (N,) int64 from 0.
        min_cluster_size: Clusters of this size or smaller are left out, unless all are.
        k_nn: Neighbours that typicality looks at, at most; half a cluster where that is less.

    Returns:
        (n,) int64 indices, n <= budget: a turn of a cluster without an unlabelled unit yields none; (n,) float64
        typicality, NaN where the unit was the last of its cluster.
    """
    sizes = np.bincount(clusters)
    annotated = np.bincount(clusters[query.is_labelled], minlength=len(sizes))
    kept = np.flatnonzero(sizes > min_cluster_size)
    kept = kept if len(kept) else np.arange(len(sizes))
    kept = kept[np.lexsort((-sizes[kept], annotated[kept]))]
    is_free = ~query.is_labelled
    chosen, values = [], []
    for turn in range(query.budget):
        members = np.flatnonzero((clusters == kept[turn % len(kept)]) & is_free)
        if not len(members):
            continue
        place, value = 0, np.nan
        if len(members) > 1:
            merits = typicality(query.features[members], max(min(k_nn, len(members) // 2), 1))
            place = best(merits, rng=query.rng, rtol=1e-12)
            value = merits[place]
        chosen.append(members[place])
        values.append(value)
        is_free[members[place]] = False
    return np.array(chosen, np.int64), np.array(values, np.float64)


def typicality(features: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns (m,) 1 / (mean distance to the nearest `neighbours` others + 1e-5) of (m, D) units, m > neighbours."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=neighbours).fit(np.ascontiguousarray(features, np.float64))
    return 1.0 / (model.kneighbors()[0].mean(axis=1) + 1e-5)


LARGEST_FULL = 50  # more clusters than this are found with mini-batches, as in the published code


def cluster_units(features: np.ndarray, count: int, *, rng: np.random.Generator | int) -> np.ndarray:
    """Returns the cluster of each unit by k-means, (N,) int64 from 0 without gaps.

    Args:
        features: (N, D) float.
        count: Clusters, 1 to N; there are fewer where fewer points differ.
        rng: Draws the seed of k-means.

    Source: Hacohen et al., 2022, arXiv 2202.02794: k-means up to 50 clusters, mini-batch k-means above.

    Notes:
        Differs from the published code where a cluster stays empty: it is left out, instead of starting again with one
        cluster less until none is empty.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    seed = int(rng.integers(2**31))
    if count <= LARGEST_FULL:
        model = KMeans(count, random_state=seed)
    else:
        model = MiniBatchKMeans(count, random_state=seed, batch_size=5000, n_init="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        labels = model.fit_predict(np.ascontiguousarray(features))
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
