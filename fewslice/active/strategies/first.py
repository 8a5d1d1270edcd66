"""The units in the order of the pool."""

from __future__ import annotations

import numpy as np

from fewslice.active.query import Query, register


@register("first", obeys_rules=True)
def first(query: Query) -> np.ndarray:
    """Takes the first unlabelled units of the pool, in its order: that of the list of cases.

    Source: the first round of V. Rocheleau, active-learning-segmentation-baselines (2020).

    Example:
        >>> fewslice.select("first", np.zeros((4, 1)), budget=2, labelled=[0]).tolist()
        [1, 2]
    """
    return query.first_allowed(query.candidates)
