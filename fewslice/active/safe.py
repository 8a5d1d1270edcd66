"""A hedge: half of the budget at equal distances, half by a strategy, and no volume takes it all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fewslice.active.query import Choice, Query, select

QUOTA = 2  # times the equal share of a volume


def select_safely(name: str, query: Query, options: Mapping[str, Any] | None = None) -> Choice:
    """Chooses half of the budget by `equispaced`, then the other half, if it is odd the smaller one, by a strategy.

    The strategy sees the equispaced units as annotated. Of a volume at most ceil(2 budget / volumes) units are chosen,
    twice its equal share: where the strategy's choice exceeds that, it is asked for twice as many, and so on, and its
    first ones within the quota count. More are taken only where too few other volumes have units left.

    Args:
        name, options: The strategy and its options, as in `select`.

    Raises:
        As `select`; ConfigError beside `case_cap`, `per_label` or units that overlap.
    """
    if query.budget >= len(query.candidates):  # all are taken
        return select(name, query, options)
    half = query.budget // 2
    first = select("equispaced", dataclasses.replace(query, budget=query.budget - half))
    if not half:
        return first
    is_taken = query.is_labelled.copy()
    is_taken[first.indices] = True
    names, volumes = np.unique(query.pool.volumes, return_inverse=True)
    quota, seed = math.ceil(QUOTA * query.budget / len(names)), int(query.rng.integers(2**63))
    taken = np.bincount(volumes[first.indices], minlength=len(names))
    asked, most = half, len(query.candidates) - len(first.indices) - 1  # all of them would not be ranked
    while True:
        ranked = select(name, dataclasses.replace(query, is_labelled=is_taken, budget=asked, rng=seed), options)
        is_within = _within(volumes[ranked.indices], taken, quota)
        if is_within.sum() >= half or asked == most:
            break
        asked = min(2 * asked, most)
    order = np.argsort(~is_within, kind="stable")[:half]
    pairs = ((getattr(first, key), getattr(ranked, key)[order]) for key in ("indices", "values"))
    return Choice(*map(np.concatenate, pairs))


def _within(volumes: np.ndarray, taken: np.ndarray, quota: int) -> np.ndarray:
    """Returns (n,) bool: which of ranked units, given by their volumes, stay within the quota beside those `taken`."""
    place = np.array([(volumes[:rank] == volume).sum() for rank, volume in enumerate(volumes)], np.int64)
    return taken[volumes] + place < quota
