"""Uniformly random units."""

from __future__ import annotations

import numpy as np

from fewslice.active.query import Query, register


@register("random")
def random(query: Query) -> np.ndarray:
    """Draws unlabelled units, each set of `budget` equally likely."""
    return query.rng.choice(query.candidates, query.budget, replace=False)
