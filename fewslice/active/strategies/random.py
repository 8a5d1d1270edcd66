"""Uniformly random units."""

from __future__ import annotations

import numpy as np

from fewslice.active.query import Query, register


@register("random", obeys_rules=True)
def random(query: Query) -> np.ndarray:
    """Draws unlabelled units, each set of `budget` equally likely.

    Example:
        >>> fewslice.select("random", np.zeros((4, 1)), budget=2, rng=0).tolist()
        [2, 3]
    """
    if query.has_rules:
        return query.first_allowed(query.rng.permutation(query.candidates))
    return query.rng.choice(query.candidates, query.budget, replace=False)
