"""Greedy k-center: again and again the unit that lies farthest from all centres, over any distance to a centre.

Sources: Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985; Sener and Savarese, "Active
learning for convolutional neural networks: a core-set approach", 2018 (https://arxiv.org/abs/1708.00489), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fewslice.active.query import Choice
from fewslice.core.errors import ConfigError


class Distance(Protocol):
    """The distance of N units to a centre, which is a unit too. It need be neither symmetric nor positive."""

    def __len__(self) -> int:
        """Returns N."""

    def bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (N,) lower and (N,) upper bounds, float64, that enclose what `exact` returns; quick to compute."""

    def exact(self, rows: np.ndarray, centre: int) -> np.ndarray:
        """Returns the (R,) float64 distances of the units `rows`; those of a unit do not depend on the other rows."""


def greedy(distance: Distance, budget: int, *, labelled: Sequence[int], rng: np.random.Generator) -> Choice:
    """Chooses `budget` units that are not labelled, each the farthest from the labelled and the chosen ones.

    The order and the choice are those of the exact distances: bounds only decide for which units these are computed.

    Args:
        distance: The distance to a centre.
        budget: Units to choose; as many must be unlabelled.
        labelled: The centres to begin with.
        rng: Draws the first unit, and only if nothing is labelled.

    Returns:
        The units in the order of choice, and their exact distances to the nearest centre at that moment; NaN for a
        first unit that was drawn. Of units that are equally far the one with the lowest index is taken.

    Raises:
        ConfigError: a distance is not a finite number.

    Notes:
        Differs from the published code: a unit is never chosen twice (there the uncertainty term and the metrics
        "dot" and "cosine" could choose a centre again), and the first unit is drawn from the given generator.
        Memory: five numbers per unit.
    """
    nearest = _Nearest(distance)
    free = np.ones(len(distance), bool)
    for centre in labelled:
        nearest.add(int(centre))
        free[centre] = False
    indices, values = np.empty(budget, np.int64), np.full(budget, np.nan)
    for step in range(budget):
        if nearest.centres:
            indices[step], values[step] = nearest.farthest(free)
        else:
            indices[step] = rng.choice(np.flatnonzero(free))
        free[indices[step]] = False
        if step + 1 < budget:
            nearest.add(int(indices[step]))
    return Choice(indices, values)


class _Nearest:
    """Bounds of every unit's distance to its nearest centre.

    Of each unit are kept: the centre with the smallest upper bound, both bounds of the distance to it, and the smallest
    lower bound of all others. Where that is not below the upper bound, the centre is certainly the nearest and one
    exact distance tells the minimum over all centres.
    """

    def __init__(self, distance: Distance):
        count = len(distance)
        self.distance = distance
        self.centres: list[int] = []
        self.centre = np.zeros(count, np.int64)
        self.lower, self.upper, self.others = (np.full(count, np.inf) for _ in range(3))

    def add(self, centre: int) -> None:
        lower, upper = self.distance.bounds(centre)
        bad = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
        if len(bad):
            raise ConfigError(
                f"The distance of {len(bad)} units, for instance index {bad[0]}, to unit {centre} is not a finite "
                "number. Look at their images, features and metadata."
            )
        better = upper < self.upper
        self.others = np.minimum(self.others, np.where(better, self.lower, lower))
        self.lower = np.where(better, lower, self.lower)
        self.upper = np.where(better, upper, self.upper)
        self.centre[better] = centre
        self.centres.append(centre)

    def farthest(self, free: np.ndarray) -> tuple[int, float]:
        """Returns the lowest index among the free units with the largest exact distance, and that distance."""
        lower = np.minimum(self.lower, self.others)
        contenders = np.flatnonzero(free & (self.upper >= lower[free].max()))
        values = self.exact(contenders)
        best = int(np.argmax(values))
        return int(contenders[best]), float(values[best])

    def exact(self, rows: np.ndarray) -> np.ndarray:
        """Returns the exact distances of the units `rows` to their nearest centres, and keeps them."""
        is_clear = self.others[rows] >= self.upper[rows]
        unknown = rows[is_clear & (self.lower[rows] < self.upper[rows])]
        for centre in np.unique(self.centre[unknown]):
            members = unknown[self.centre[unknown] == centre]
            self.lower[members] = self.upper[members] = self.distance.exact(members, int(centre))
        unclear = rows[~is_clear]
        if len(unclear):
            best = np.full(len(unclear), np.inf)
            for centre in self.centres:
                found = self.distance.exact(unclear, centre)
                self.centre[unclear[found < best]] = centre
                best = np.minimum(best, found)
            self.lower[unclear] = self.upper[unclear] = self.others[unclear] = best
        return self.upper[rows]


class PlainDistance:
    """Euclidean distance of rows, float64 differences; no bounds. For small pools and as the definition.

    Args:
        features: (N, D) numbers.
    """

    def __init__(self, features: np.ndarray):
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        values = self.exact(np.arange(len(self)), centre)
        return values, values

    def exact(self, rows: np.ndarray, centre: int) -> np.ndarray:
        step = max(1, (1 << 20) // max(1, self.features.shape[1]))
        parts = [
            row_distances(self.features[rows[start : start + step]], self.features[centre])
            for start in range(0, len(rows), step)
        ]
        return np.concatenate(parts) if parts else np.empty(0)


def row_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the (R,) float64 Euclidean distances between rows (R, D) and rows (R, D) or one row (D,).

    Differences, squares and sum are float64; a row's result does not depend on the others.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    difference = np.ascontiguousarray(difference)
    return np.sqrt(np.sum(np.square(difference, out=difference), axis=1))
