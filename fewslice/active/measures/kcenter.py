"""Greedy k-center: one after the other the unit that lies farthest from all centres.

`greedy` works with any distance to a centre; `euclidean_k_center` makes the same choice for Euclidean distances of
millions of rows, where three things make it quick:

- distances come from single-precision matrix products with a rigorous error bound; only the few rows that this leaves
  undecided are computed as float64 differences;
- a distance to the nearest centre never grows, so an old one is an upper bound: as long as the farthest row of a block
  of candidates is farther than the bounds of all others, new centres are compared with the block alone;
- when it no longer is, the rows with the largest bounds are compared with the centres that they missed, many at once in
  one matrix product, and form the next block.

Sources: Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985; Sener and Savarese, "Active
learning for convolutional neural networks: a core-set approach", 2018 (https://arxiv.org/abs/1708.00489), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from fewslice.active.query import Choice
from fewslice.core.errors import ConfigError


class Distance(Protocol):
    """The distance of N units to a centre, which is a unit too. It need be neither symmetric nor positive."""

    def __len__(self) -> int: ...

    def bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (N,) lower and (N,) upper bounds of `exact`, float64, quick to compute."""

    def exact(self, rows: np.ndarray, centre: int) -> np.ndarray:
        """Returns the (R,) float64 distances of the units `rows`; those of a unit do not depend on the other rows."""


def greedy(distance: Distance, budget: int, *, labelled: Sequence[int], rng: np.random.Generator | int) -> Choice:
    """Chooses `budget` units that are not labelled, each the farthest from the labelled and the chosen ones.

    The order and the choice are those of the exact distances: bounds only decide for which units these are computed.

    Args:
        distance: The distance to a centre.
        budget: Units to choose; as many must be unlabelled.
        labelled: The centres to begin with.
        rng: Draws the first unit, only if nothing is labelled.

    Returns:
        The units in the order of choice, and their exact distances to the nearest centre at that moment; NaN for a
        first unit that was drawn. Ties go to the lowest index.

    Raises:
        ConfigError: a distance is not a finite number.

    Notes:
        Differs from the published code: a unit is never chosen twice (there the uncertainty term and the metrics
        "dot" and "cosine" could choose a centre again), and the first unit is drawn from the given generator.
        Memory: five numbers per unit.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
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

    Kept for each unit: the centre with the smallest upper bound, both bounds of the distance to it, and the smallest
    lower bound of all others. Where that is not below the upper bound, this centre is certainly the nearest and one
    exact distance is the minimum over all centres.
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
                distances = self.distance.exact(unclear, centre)
                self.centre[unclear[distances < best]] = centre
                best = np.minimum(best, distances)
            self.lower[unclear] = self.upper[unclear] = self.others[unclear] = best
        return self.upper[rows]


def chunks(rows: np.ndarray, columns: int, elements: int = 1 << 18) -> Iterator[np.ndarray]:
    """Yields indices of rows with so many columns in parts of about `elements` values."""
    step = max(1, elements // max(1, columns))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def row_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the (R,) float64 Euclidean distances between rows (R, D) and rows (R, D) or one row (D,).

    Differences, squares and sum are float64; a row's result does not depend on the others.
    """
    difference = np.ascontiguousarray(np.asarray(first, np.float64) - np.asarray(second, np.float64))
    return np.sqrt(np.sum(np.square(difference, out=difference), axis=1))


def vector_distances(
    rows: np.ndarray, centre: np.ndarray, metric: str, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Returns the (R,) float64 distances of rows (R, D) to a centre (D,); a row's result does not depend on the others.

    Args:
        rows: Numbers of any type, computed in float64.
        centre: Numbers of any type.
        metric: "euclidean" sqrt(sum w (x - c)^2), "dot" -sum w x c, "cosine" 1 - the cosine of the angle in the
            weighted product, 1 where a row is zero.
        weights: (D,) or one, not negative.
    """
    rows, centre = np.ascontiguousarray(rows, np.float64), np.asarray(centre, np.float64)
    if metric == "euclidean":
        root = np.sqrt(weights)
        return row_distances(rows * root, centre * root) if np.any(root != 1) else row_distances(rows, centre)
    product = np.sum(rows * centre * weights, axis=1)
    if metric == "dot":
        return -product
    lengths = np.sqrt(np.sum(np.square(rows) * weights, axis=1) * np.sum(np.square(centre) * weights))
    return 1 - np.divide(product, lengths, out=np.zeros(len(rows)), where=lengths > 0)


UNIT = 2.0**-24  # unit roundoff of float32
COLUMNS = 1024  # columns of one matrix product; longer rows are added up from several
LARGEST_NORM = 1e18  # squares stay far below the largest float32
_SLACK = 1.25  # for the rounding of the bounds themselves and of the float64 distances they enclose


def finite_norms(features: np.ndarray) -> np.ndarray:
    """Returns the (N,) float64 norms of rows. Raises `ConfigError` if one is not finite or too long for float32."""
    norms, step = np.empty(len(features)), max(1, (1 << 17) // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        block = np.asarray(features[start : start + step], np.float64)
        norms[start : start + step] = np.sqrt(np.einsum("ij,ij->i", block, block))
    bad = np.flatnonzero(~(norms <= LARGEST_NORM))
    if len(bad):
        raise ConfigError(
            f"The features or pixels of {len(bad)} units are not finite or longer than {LARGEST_NORM:g}, "
            f"for instance of the unit with index {bad[0]}. Look at these images."
        )
    return norms


def margin(row_norms: np.ndarray, largest_centre: float, columns: int) -> np.ndarray:
    """Returns (N,) float64: how far |x|^2 + |c|^2 - 2 x.c in float32 can be from |x - c|^2.

    The product of `columns` terms, in pieces of 1024, in any order, of values that were rounded to float32, is off by
    at most gamma |x| |c| (Higham, "Accuracy and stability of numerical algorithms", section 3.1); the norms, their
    rounding and the two subtractions add a few unit roundoffs of (|x| + |c|)^2, products that underflow a constant.
    """
    terms = min(columns, COLUMNS) + columns / COLUMNS + 8
    gamma = terms * UNIT / (1 - terms * UNIT)
    product = 2 * gamma * row_norms * largest_centre
    return _SLACK * (product + 3 * UNIT * (row_norms + largest_centre) ** 2) + columns * 1e-37


def products(centres: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the (M, R) float32 products of centres (M, D) with rows (R, D), within what `margin` allows."""
    total = np.zeros((len(centres), len(rows)), np.float32)
    for start in range(0, rows.shape[1], COLUMNS):
        first, second = centres[:, start : start + COLUMNS], rows[:, start : start + COLUMNS]
        # of one centre threads bring nothing, and on a busy machine wait for each other at every pick
        total += np.einsum("ij,j->i", second, first[0]) if len(centres) == 1 else first @ second.T
    return total


SWEEP_CENTRES = 256  # centres in one matrix product; so many of those at the beginning are compared with all rows
PASS_CENTRES = 512  # centres that rows are compared with in one pass at most
SMALLEST_BLOCK = 1024  # candidates
BLOCK_SHARE = 64  # one row of so many is a candidate
_GROWTH = 4  # so many times more rows are brought up to date when the first were not enough
_BLOCK_ELEMENTS = 1 << 21  # of the smallest block
_CENTRE_ELEMENTS = 1 << 23  # of the centres that are in work at a time
_NEARLY = 1 - 1e-12  # two squares that differ by less can have the same root


def euclidean_k_center(
    features: np.ndarray, budget: int, *, labelled: Sequence[int], rng: np.random.Generator | int
) -> Choice:
    """Chooses as `greedy` does by the distances sqrt(sum((x - c)^2)), differences and sum in float64.

    Args:
        features: (N, D) float16, float32, float64 or integers, maybe memory-mapped, finite.
        budget: Rows to choose; as many must be unlabelled.
        labelled: The centres to begin with.
        rng: Draws the first row if nothing is labelled.

    Raises:
        ConfigError: a row is not finite, or longer than 1e18.

    Notes:
        Memory beside the features: some 50 bytes per row, a block of N / 64 rows (at least 1024) in float32 and a few
        MiB; features of other types are converted piece by piece. The larger the norms are in comparison with the
        distances, the more rows need float64; the picks stay exact.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    state = _State(features)
    if len(labelled):
        state.add(np.asarray(labelled[:SWEEP_CENTRES], np.int64))
        state.catch_up(np.arange(len(features)))
        state.add(np.asarray(labelled[SWEEP_CENTRES:], np.int64))
    indices, values = np.empty(budget, np.int64), np.full(budget, np.nan)
    step = 0
    if budget and not len(labelled):
        indices[0] = rng.choice(np.flatnonzero(state.is_free))
        step = 1
    while step < budget:
        if step:
            state.add(indices[step - 1 : step])
        indices[step], values[step] = state.farthest()
        step += 1
        if values[step - 1] == 0:  # every row that is left equals a centre
            state.is_free[indices[step - 1]] = False
            indices[step:] = np.flatnonzero(state.is_free)[: budget - step]
            values[step:] = 0.0
            break
    return Choice(indices, values)


class _State:
    """Close bounds of the squared distance to the nearest centre for a block of candidates, upper bounds for all."""

    def __init__(self, features: np.ndarray):
        count, self.columns = len(features), features.shape[1]
        self.pass_centres = max(1, min(PASS_CENTRES, _CENTRE_ELEMENTS // max(1, self.columns)))
        smallest = max(1, min(SMALLEST_BLOCK, _BLOCK_ELEMENTS // max(1, self.columns)))
        self.block_size = max(smallest, count // BLOCK_SHARE)
        self.features = features
        norms = finite_norms(features)
        self.squares = np.square(norms).astype(np.float32)
        self.norms = norms.astype(np.float32)  # the margin has room for this rounding
        self.longest = 0.0  # norm of a centre
        self.is_free = np.ones(count, bool)
        self.centres: list[int] = []
        self.approximate = np.full(count, np.inf, np.float32)  # from the first `compared` centres
        self.compared = np.zeros(count, np.int32)  # of the block always all, whatever stands here
        self.exact = np.full(count, np.inf)  # distances to the nearest of the first `known` centres
        self.known = np.zeros(count, np.int32)
        self.block: np.ndarray | None = None
        self.block_rows: np.ndarray | None = None
        self.ceiling = np.inf  # squared distance that no free row outside the block exceeds

    def add(self, centres: np.ndarray) -> None:
        """Adds centres and compares the block with them."""
        if not len(centres):
            return
        self.is_free[centres] = False
        self.centres += centres.tolist()
        self.longest = max(self.longest, float(self.norms[centres].max()))
        if self.block is not None:
            self._compare(self.block, self.block_rows, centres, self._rows(centres))

    def farthest(self) -> tuple[int, float]:
        """Returns the lowest index of the free rows that are farthest from their nearest centre, and the distance."""
        found, size = self._decide(), self.block_size
        while found is None:
            is_all = size >= np.count_nonzero(self.is_free)
            self._renew_block(size)
            found = self._decide()
            if found is None and is_all:
                found = self._farthest_of(slice(None))
            size *= _GROWTH
        return found

    def _decide(self) -> tuple[int, float] | None:
        """Returns the result of `farthest` if the block is enough to decide, else None."""
        if self.block is None or not self.is_free[self.block].any():
            return None
        found = self._farthest_of(self.block, self.ceiling)
        return found if found is not None and found[1] ** 2 * _NEARLY > self.ceiling else None

    def _renew_block(self, size: int) -> None:
        """Brings the `size` free rows with the largest bounds up to date and takes the farthest of all as block."""
        if self.block is not None:
            self.compared[self.block] = len(self.centres)
        upper = self._upper()
        self.catch_up(_largest(upper, min(size, np.count_nonzero(self.is_free))))
        upper = self._upper()
        block = _largest(upper, min(self.block_size, np.count_nonzero(self.is_free)))
        self.catch_up(block)
        upper[block] = -np.inf
        self.ceiling = float(upper.max())
        self.block, self.block_rows = block, self._rows(block)

    def _upper(self) -> np.ndarray:
        """Returns (N,) upper bounds of the squared distances of all free rows."""
        found = margin(self.norms, self.longest, self.columns)
        found += self.approximate
        found[~self.is_free] = -np.inf
        return found

    def catch_up(self, rows: np.ndarray) -> None:
        """Compares `rows`, in ascending order, with the centres that came since they were last compared."""
        total, before = len(self.centres), self.compared[rows]
        for done in np.unique(before[before < total]):
            members = rows[before == done]
            for first in range(done, total, self.pass_centres):
                centres = np.array(self.centres[first : first + self.pass_centres], np.int64)
                centre_rows = self._rows(centres)
                for part in chunks(members, self.columns):
                    values = self._rows(part)
                    for at in range(0, len(centres), SWEEP_CENTRES):
                        few = slice(at, at + SWEEP_CENTRES)
                        self._compare(part, values, centres[few], centre_rows[few])
        self.compared[rows] = total

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        if len(indices) and indices[-1] - indices[0] == len(indices) - 1 and (np.diff(indices) == 1).all():
            indices = slice(indices[0], indices[-1] + 1)  # not copied
        return np.asarray(self.features[indices], np.float32)

    def _compare(self, where: np.ndarray, rows: np.ndarray, centres: np.ndarray, centre_rows: np.ndarray) -> None:
        """Lowers the approximate squared distances of the rows `where` by those to `centres`."""
        halves = products(centre_rows, rows)  # (M, R)
        halves -= (self.squares[centres] / 2)[:, None]
        squared = self.squares[where] - 2 * halves.max(axis=0)
        self.approximate[where] = np.minimum(self.approximate[where], squared)

    def _farthest_of(self, where: np.ndarray | slice, ceiling: float = -np.inf) -> tuple[int, float] | None:
        """Decides among the free rows `where`, which are up to date, in ascending order.

        None if their squared distances do not exceed `ceiling`.
        """
        approximate = self.approximate[where]
        margins = margin(self.norms[where], self.longest, self.columns)
        is_free, is_known = self.is_free[where], self.known[where] == len(self.centres)
        square = np.square(self.exact[where])
        lower = np.where(is_known, square, approximate - margins)
        upper = np.where(is_known, square, approximate + margins)
        if upper[is_free].max() <= ceiling:
            return None
        top = max(0.0, lower[is_free].max()) * _NEARLY
        places = np.flatnonzero(is_free & (upper >= top))
        rows = places if isinstance(where, slice) else where[places]
        self._measure(rows)
        best = rows[np.argmax(self.exact[rows])]
        return int(best), float(self.exact[best])

    def _measure(self, rows: np.ndarray) -> None:
        """Brings the exact distances of `rows` up to date: float64 differences for centres that may be the nearest."""
        rows = rows[self.known[rows] < len(self.centres)]
        for part in chunks(rows, max(self.columns, self.pass_centres)):
            values = self._rows(part)
            for first in range(int(self.known[part].min()), len(self.centres), self.pass_centres):
                self._measure_pass(part, values, first)
            self.known[part] = len(self.centres)

    def _measure_pass(self, rows: np.ndarray, values: np.ndarray, first: int) -> None:
        """Compares `rows` with the centres from number `first` on."""
        centres = np.array(self.centres[first : first + self.pass_centres], np.int64)
        margins = margin(self.norms[rows], self.longest, self.columns)
        limit = np.minimum(np.square(self.exact[rows]) / _NEARLY, self.approximate[rows] + margins) + margins
        squared = self.squares[centres][:, None] - 2 * products(self._rows(centres), values) + self.squares[rows]
        is_new = np.arange(first, first + len(centres))[:, None] >= self.known[rows]
        which, place = np.nonzero(is_new & (squared <= limit))
        for pair in chunks(np.arange(len(which)), self.columns):
            member, centre = rows[place[pair]], centres[which[pair]]
            np.minimum.at(self.exact, member, row_distances(self.features[member], self.features[centre]))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the places of the `count` largest of (n,) values, in ascending order."""
    if count == 0:
        return np.empty(0, np.int64)
    return np.sort(np.argpartition(values, len(values) - count)[len(values) - count :])
