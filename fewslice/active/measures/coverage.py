"""Units that represent as many others as possible: balls of one radius, or a smooth kernel.

Both are greedy, exact and need memory for 64 rows of distances at a time, so it grows linearly in the number of units;
the time grows with its square. One or two copies of the features in float64 are held.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fewslice.active.measures.kcenter import chunks
from fewslice.active.measures.typical import cluster_units
from fewslice.active.query import Choice, Query, best

_BLOCK = 64  # rows of distances at a time
_SLACK = 1e-9  # rounding of distances and of sums of kernel values


def unit_rows(features: np.ndarray, *, normalise: bool = True, dtype: type = np.float64) -> np.ndarray:
    """Returns (N, D) features of this type, each row of Euclidean length 1 if asked for; a row of zeros stays."""
    rows = np.array(features, dtype, order="C")
    if normalise:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1.0)
    return rows


def squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns (A, B) squared Euclidean distances of (A, D) and (B, D) rows, not below 0."""
    sums = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", others, others)[None]
    squares = sums - 2.0 * (rows @ others.T)
    return np.where(squares < 1e-13 * sums, 0.0, squares)  # what a cancellation leaves is no distance


def purity_radius(
    rows: np.ndarray, *, purity: float, num_clusters: int, rng: np.random.Generator | int, sample: int = 2000
) -> float:
    """Returns the largest radius at which the share `purity` of the balls holds units of one cluster only.

    Args:
        rows: (N, D) float64. Where all are the same, the radius is 0.
        purity: Share in (0, 1).
        num_clusters: Clusters of k-means that stand for the unknown classes, at least 2.
        rng: Draws the clusters' start, and the units that are looked at.
        sample: Units at most whose balls are looked at.

    Source: Yehuda et al., 2022, arXiv 2205.11320 (purity 0.95).
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    clusters = cluster_units(rows, min(num_clusters, len(rows)), rng=rng)
    if clusters.max() == 0:
        return 0.0
    probes = rng.choice(len(rows), min(sample, len(rows)), replace=False)
    nearest = [  # squared distance to the nearest unit of another cluster: the ball is pure below it
        np.where(clusters[block, None] == clusters[None], np.inf, squared_distances(rows[block], rows)).min(axis=1)
        for block in _blocks(probes)
    ]
    nearest = np.sort(np.concatenate(nearest))
    impure = int(len(nearest) * (1.0 - purity) + 1e-9)  # balls that may be
    return float(np.sqrt(nearest[min(impure, len(nearest) - 1)])) * (1.0 - 1e-6)


def cover_with_balls(query: Query, rows: np.ndarray, radius: float) -> Choice:
    """Chooses units whose closed balls hold the most units that no ball holds yet.

    The balls of labelled units count from the beginning. Equals are drawn; so once everything is covered the rest is
    random. The values are the shares of all units that each covers anew.

    Args:
        rows: (N, D) float64 of the pool.
        radius: Radius of the balls, at least 0.
    """
    limit = radius**2 * (1.0 + _SLACK)
    counts = np.zeros(len(rows), np.int64)
    is_covered = np.zeros(len(rows), bool)
    for block in _blocks(np.arange(len(rows))):
        counts[block] = (squared_distances(rows[block], rows) <= limit).sum(axis=1)

    def take(index: int) -> None:
        new = np.flatnonzero((squared_distances(rows[[index]], rows)[0] <= limit) & ~is_covered)
        is_covered[new] = True
        for block in _blocks(new):
            counts[:] -= (squared_distances(rows[block], rows) <= limit).sum(axis=0)

    for index in query.labelled:
        take(index)
    can_be_chosen = ~query.is_labelled
    indices, shares = np.empty(query.budget, np.int64), np.empty(query.budget)
    for step in range(query.budget):
        indices[step] = index = best(np.where(can_be_chosen, counts, -np.inf), rng=query.rng)
        shares[step] = counts[index] / len(rows)
        can_be_chosen[index] = False
        take(index)
    return Choice(indices, shares)


def cover_with_kernel(query: Query, rows: np.ndarray, bandwidth: float, weights: np.ndarray) -> Choice:
    """Chooses units that raise sum_n weight_n max_s k(x_n, x_s) / N the most, s over labelled and chosen units.

    k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)). What a unit would add can only shrink while others are chosen, so a
    unit whose last known gain is below the best present one is not computed again; the choice is that of the full
    computation. Equals are drawn. The values are what each adds.

    Args:
        rows: (N, D) float64 of the pool.
        bandwidth: Of the kernel, positive.
        weights: (N,) float64, not negative.
    """
    rows, covered, weights = rows / bandwidth, np.zeros(len(rows)), weights / len(rows)
    halves = np.einsum("ij,ij->i", rows, rows) / 2

    def kernel(chosen: np.ndarray) -> np.ndarray:  # (C,) -> (C, N)
        values = rows[chosen] @ rows.T
        values -= halves
        values -= halves[chosen, None]
        np.minimum(values, 0.0, out=values)
        return np.exp(values, out=values)

    def gains(chosen: np.ndarray) -> np.ndarray:
        values = kernel(chosen)
        values -= covered
        return np.maximum(values, 0.0, out=values) @ weights

    for block in _blocks(query.labelled):
        np.maximum(covered, kernel(block).max(axis=0), out=covered)
    bounds = np.full(len(rows), -np.inf)
    for block in _blocks(np.flatnonzero(~query.is_labelled)):
        bounds[block] = gains(block)
    indices, added, is_exact = np.empty(query.budget, np.int64), np.empty(query.budget), np.ones(len(rows), bool)
    for step in range(query.budget):
        while True:  # gains anew, largest old ones first, until none that is left can reach the best
            top = bounds[is_exact].max(initial=-np.inf)
            limit = top - _SLACK * abs(top) if np.isfinite(top) else top
            stale = np.flatnonzero(~is_exact & (bounds >= limit))
            if not len(stale):
                break
            stale = stale[np.argsort(-bounds[stale], kind="stable")[:_BLOCK]]
            bounds[stale] = gains(stale)
            is_exact[stale] = True
        top = best(np.where(is_exact, bounds, -np.inf), rng=query.rng, rtol=_SLACK)
        indices[step], added[step] = top, bounds[top]
        np.maximum(covered, kernel(np.array([top]))[0], out=covered)
        bounds[top] = -np.inf
        is_exact = bounds <= 0  # gains are not negative, so that these cannot shrink
    return Choice(indices, added)


def _blocks(indices: np.ndarray) -> Iterator[np.ndarray]:
    return chunks(indices, 1, _BLOCK)
