"""Groups of units that look alike."""

from __future__ import annotations

import warnings

import numpy as np

LARGEST_FULL = 50  # more clusters than this are found with mini-batches, as in the published code


def cluster_units(features: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Returns which cluster each unit belongs to, by k-means.

    Args:
        features: (N, D) float.
        count: Clusters to look for, 1 to N.
        rng: Draws the seed of k-means.

    Returns:
        (N,) int64 from 0 to the number of clusters - 1. Each cluster has a member; there are fewer than `count` where
        fewer points differ.

    Source: Hacohen et al., 2022, arXiv 2202.02794: k-means up to 50 clusters, mini-batch k-means above.

    Notes:
        Differs from the published code where a cluster stays empty: it is left out, instead of starting again with one
        cluster less until none is empty.
    """
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
