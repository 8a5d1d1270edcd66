"""Middle slices first."""

from __future__ import annotations

import numpy as np

from fewslice.active.query import Query, register


@register("mid_slice")
def mid_slice(query: Query) -> np.ndarray:
    """Takes the middle slice of every volume, then the next nearest to the middle of every volume, and so on.

    A volume with k annotated slices waits k rounds. Volumes of a round and slices equally
    far from the middle come in random order.

    Source: a baseline of common practice.

    Example:
        >>> fewslice.select("mid_slice", volumes=["a"] * 5 + ["b"] * 5, budget=2).tolist()
        [7, 2]
    """
    pool, candidates = query.pool, query.candidates
    names, volumes = np.unique(pool.volumes, return_inverse=True)
    sizes = np.bincount(volumes)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(pool), np.int64)  # 0, 1, ... from the first to the last slice of the volume
    order = np.lexsort((pool.positions, volumes))
    place[order] = np.arange(len(pool)) - starts[volumes[order]]
    off_centre = np.abs(2 * place - (sizes[volumes] - 1))
    order = np.lexsort((query.rng.random(len(candidates)), off_centre[candidates], volumes[candidates]))
    sorted_volumes = volumes[candidates[order]]
    rounds = np.arange(len(order)) - np.searchsorted(sorted_volumes, sorted_volumes)
    rounds += np.bincount(volumes[query.labelled], minlength=len(names))[sorted_volumes]
    return candidates[order][np.lexsort((query.rng.random(len(order)), rounds))][: query.budget]
