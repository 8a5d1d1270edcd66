"""Probabilistic k-center: units are drawn, those far from every centre more often."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fewslice.active.measures.kcenter import chunks, row_distances
from fewslice.active.query import Choice, Query, register
from fewslice.settings.declare import Positive


@register("pkcenter", needs=("features",))
def pkcenter(query: Query, *, temp_init: Positive = 1.0, temp_scale: Literal["inv_iter"] | None = None) -> Choice:
    """Draws units with probability proportional to exp((distance - largest distance) / temperature).

    Args:
        temp_init: Temperature, in units of the distance.
        temp_scale: None keeps it, "inv_iter" divides it by 1 + the number of units labelled or chosen so far.

    Notes:
        Differs from the published code, where a unit could be drawn twice within one query; here what was drawn is
        left out. The first unit is drawn uniformly if nothing is labelled, as published.

    Example:
        >>> rows = np.array([[0.0], [1.0], [2.0], [10.0]])
        >>> fewslice.select("pkcenter", rows, budget=2, labelled=[0], rng=0).tolist()
        [3, 2]
    """
    features = np.asarray(query.features).reshape(len(query.pool), -1)
    parts = [*chunks(np.arange(len(features)), features.shape[1])]
    nearest = np.full(len(features), np.inf)

    def add(centre: int) -> None:
        distances = np.concatenate([row_distances(features[part], features[centre]) for part in parts])
        np.minimum(nearest, distances, out=nearest)

    for centre in query.labelled:
        add(centre)
    free = ~query.is_labelled
    indices, values = np.empty(query.budget, np.int64), np.full(query.budget, np.nan)
    for step in range(query.budget):
        candidates = np.flatnonzero(free)
        centres = len(query.labelled) + step
        if centres:
            temperature = temp_init / (centres + 1) if temp_scale else temp_init
            weights = np.exp((nearest[candidates] - nearest[candidates].max()) / temperature)
            indices[step] = query.rng.choice(candidates, p=weights / weights.sum())
            values[step] = nearest[indices[step]]
        else:
            indices[step] = query.rng.choice(candidates)
        free[indices[step]] = False
        add(indices[step])
    return Choice(indices, values)
