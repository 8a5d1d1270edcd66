"""Uniformly random units."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge

from fewslice.active.query import Query, register


@register("random", obeys_rules=True)
def random(query: Query, *, per_label: Annotated[int, Ge(0)] = 0) -> np.ndarray:
    """Draws unlabelled units, each set of `budget` equally likely.

    Args:
        query: The pool.
        per_label: Units of each image-level class that come first; see `Query.balanced`.
    """
    if query.has_rules or per_label:
        return query.first_allowed(query.balanced(query.rng.permutation(query.candidates), per_label))
    return query.rng.choice(query.candidates, query.budget, replace=False)
