"""A generator whose coins are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np


class Coins:
    """Like `np.random.default_rng(seed)`, but of the coins that `random` throws only those in `chosen` rows come up."""

    def __init__(self, *chosen: int, seed: int = 0):
        self._rng, self._chosen = np.random.default_rng(seed), list(chosen)

    def random(self, shape: int | tuple[int, ...]) -> np.ndarray:
        coins = np.ones(shape)
        coins[self._chosen] = 0
        return coins

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)
