"""Slices at equal distances in every volume."""

from __future__ import annotations

import numpy as np

from fewslice.active.query import Query, register


@register("equispaced")
def equispaced(query: Query) -> np.ndarray:
    """Shares the budget over the volumes and takes slices at equal distances among the unlabelled ones of each.

    Slices go one by one to the volume with the fewest annotated and chosen ones, ties broken at random; so volumes
    differ by one at most unless they are used up or were annotated unequally. m slices of u unlabelled ones are those
    at floor((j + 1/2) u / m), j = 0 .. m - 1; a single one is the middle.

    Source: a baseline of common practice.

    Example:
        >>> fewslice.select("equispaced", volumes=["a"] * 5 + ["b"] * 5, budget=2).tolist()
        [2, 7]
    """
    names, volumes = np.unique(query.pool.volumes, return_inverse=True)
    free = np.bincount(volumes[query.candidates], minlength=len(names))
    counts = np.bincount(volumes[query.labelled], minlength=len(names)).astype(float)
    shares = np.zeros(len(names), np.int64)
    for _ in range(query.budget):
        counts[shares == free] = np.inf
        volume = query.rng.choice(np.flatnonzero(counts == counts.min()))
        shares[volume] += 1
        counts[volume] += 1
    chosen = []
    for volume in query.rng.permutation(np.flatnonzero(shares)):
        members = query.candidates[volumes[query.candidates] == volume]
        members = members[np.argsort(query.pool.positions[members])]
        chosen.append(members[((np.arange(shares[volume]) + 0.5) * len(members) / shares[volume]).astype(int)])
    return np.concatenate(chosen)
