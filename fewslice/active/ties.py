"""The largest values first, equal ones in an order that the generator draws."""

from __future__ import annotations

import numpy as np


def best_first(values: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Returns the (count,) int64 places of the largest of (n,) values, largest first; equal values in random order."""
    order = rng.permutation(len(values))
    return order[np.argsort(-np.asarray(values)[order], kind="stable")][:count]


def best(values: np.ndarray, *, rng: np.random.Generator, rtol: float = 0.0) -> int:
    """Returns the place of the largest of (n,) values.

    Args:
        values: (n,) numbers; minus infinity is never chosen while there is anything else.
        rng: Draws among equals, each equally likely.
        rtol: Values that lie below the largest by this part of it count as equal (rounding).
    """
    top = values.max()
    limit = top - rtol * abs(top) if np.isfinite(top) else top
    equals = np.flatnonzero(values >= limit)
    return int(equals[0] if len(equals) == 1 else rng.choice(equals))
