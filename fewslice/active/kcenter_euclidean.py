"""Greedy k-center for Euclidean distances of millions of rows: the exact picks, with few passes over the rows.

Three things make it quick. Distances come from single-precision matrix products, with a rigorous bound of their error,
and only for the few rows that this leaves undecided from float64 differences. A distance to the nearest centre never
grows, so an old one is an upper bound: as long as the farthest row of a block of candidates is farther than the bounds
of all others, new centres are compared with the block alone. When it no longer is, one pass over all rows makes up for
all new centres at once, in one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewslice.active.kcenter import row_distances
from fewslice.active.query import Choice
from fewslice.active.rounding import finite_norms, margin, products

SWEEP_CENTRES = 256  # new centres after which all rows are brought up to date at the latest
PASS_CENTRES = 1024  # centres that are compared with all rows in one pass at most
SMALLEST_BLOCK = 4096  # candidates
BLOCK_SHARE = 64  # one row of so many is a candidate
_ELEMENTS = 1 << 20  # of the rows that are in work at a time
_BLOCK_ELEMENTS = 1 << 21  # of the smallest block
_CENTRE_ELEMENTS = 1 << 23  # of the centres that are in work at a time
_NEARLY = 1 - 1e-12  # two squares that differ by less can have the same root


def euclidean_k_center(
    features: np.ndarray, budget: int, *, labelled: Sequence[int], rng: np.random.Generator
) -> Choice:
    """Returns what `greedy` returns for the distances sqrt(sum((x - c)^2)), differences and sum in float64.

    Args:
        features: (N, D) float16, float32, float64 or integers, maybe memory-mapped, finite.
        budget: Rows to choose; as many must be unlabelled.
        labelled: The centres to begin with.
        rng: Draws the first row if nothing is labelled.

    Raises:
        ConfigError: a row is not finite, or longer than 1e18.

    Notes:
        Memory beside the features: 40 bytes per row, a block of N / 64 rows in float32 and some 50 MiB. Features that
        are not float32 are converted block by block in every pass. The larger the norms are in comparison with the
        distances, the more rows need float64; the picks stay exact.
    """
    state = _State(features)
    for start in range(0, len(labelled), state.pass_centres):
        state.add(np.asarray(labelled[start : start + state.pass_centres], np.int64))
        state.sweep()
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
        count, self.columns = len(features), max(1, features.shape[1])
        self.pass_centres = max(1, min(PASS_CENTRES, _CENTRE_ELEMENTS // self.columns))
        self.features = features
        self.norms = finite_norms(features)
        self.squares = np.square(self.norms).astype(np.float32)
        self.is_free = np.ones(count, bool)
        self.centres: list[int] = []
        self.swept = 0  # centres that all rows were compared with
        self.approximate = np.full(count, np.inf, np.float32)
        self.margins = np.zeros(count)
        self.longest = 0.0
        self.exact = np.full(count, np.inf)  # distances to the nearest of the first `known` centres
        self.known = np.zeros(count, np.int32)
        self.block: np.ndarray | None = None
        self.block_rows = np.empty((0, self.columns), np.float32)
        self.ceiling = np.inf  # squared distance that no free row outside the block exceeds

    def add(self, centres: np.ndarray) -> None:
        """Adds centres and compares the block with them."""
        self.is_free[centres] = False
        self.centres += centres.tolist()
        longest = float(self.norms[centres].max())
        if longest > self.longest:
            self.longest = longest
            self.margins = margin(self.norms, longest, self.columns)
        if self.block is not None:
            self._compare(self.block, self.block_rows, centres, self._rows(centres))

    def sweep(self) -> None:
        """Compares all rows with the centres that came since the last sweep."""
        new = np.array(self.centres[self.swept :], np.int64)
        centre_rows = self._rows(new)
        step = max(1, _ELEMENTS // self.columns)
        for start in range(0, len(self.is_free), step):
            span = slice(start, start + step)
            rows = np.asarray(self.features[span], np.float32)
            for first in range(0, len(new), SWEEP_CENTRES):
                part = slice(first, first + SWEEP_CENTRES)
                self._compare(span, rows, new[part], centre_rows[part])
        self.swept = len(self.centres)
        self.block = None

    def farthest(self) -> tuple[int, float]:
        """Returns the lowest index of the free rows that are farthest from their nearest centre, and the distance."""
        if self._block_may_decide():
            index, value = self._farthest_of(self.block)
            if value**2 * _NEARLY > self.ceiling:
                return index, value
        self.sweep()
        self._choose_block()
        return self._farthest_of(slice(None))

    def _block_may_decide(self) -> bool:
        if self.block is None or not self.is_free[self.block].any():
            return False
        return self.ceiling < 0 or len(self.centres) - self.swept < SWEEP_CENTRES

    def _choose_block(self) -> None:
        """Takes the free rows with the largest upper bounds into the block."""
        upper = np.where(self.is_free, self.approximate + self.margins, -np.inf)
        smallest = max(1, min(SMALLEST_BLOCK, _BLOCK_ELEMENTS // self.columns))
        size = max(smallest, len(upper) // BLOCK_SHARE)
        if size >= np.count_nonzero(self.is_free):
            self.block, self.ceiling = np.flatnonzero(self.is_free), -np.inf
        else:
            order = np.argpartition(upper, len(upper) - size)
            self.block = np.sort(order[len(upper) - size :])
            self.ceiling = float(upper[order[: len(upper) - size]].max())
        self.block_rows = self._rows(self.block)

    def _rows(self, indices: np.ndarray) -> np.ndarray:
        return np.asarray(self.features[indices], np.float32)

    def _compare(self, where: np.ndarray | slice, rows: np.ndarray, centres: np.ndarray, centre_rows: np.ndarray):
        """Lowers the approximate squared distances of the rows `where` to those to `centres`."""
        found = products(centre_rows, rows)  # (M, R)
        found -= (self.squares[centres] / 2)[:, None]
        squared = self.squares[where] - 2 * found.max(axis=0)
        self.approximate[where] = np.minimum(self.approximate[where], squared)

    def _farthest_of(self, where: np.ndarray | slice) -> tuple[int, float]:
        """Decides among the free rows `where`, whose approximate distances are up to date, in ascending order."""
        approximate, margins = self.approximate[where], self.margins[where]
        is_free, is_known = self.is_free[where], self.known[where] == len(self.centres)
        square = np.square(self.exact[where])
        lower = np.where(is_known, square, approximate - margins)
        upper = np.where(is_known, square, approximate + margins)
        top = max(0.0, lower[is_free].max()) * _NEARLY
        places = np.flatnonzero(is_free & (upper >= top))
        rows = places if isinstance(where, slice) else where[places]
        self._measure(rows)
        best = rows[np.argmax(self.exact[rows])]
        return int(best), float(self.exact[best])

    def _measure(self, rows: np.ndarray) -> None:
        """Brings the exact distances of `rows` up to date: float64 differences for centres that may be the nearest."""
        rows = rows[self.known[rows] < len(self.centres)]
        step = max(1, _ELEMENTS // max(self.columns, self.pass_centres))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            values = self._rows(part)
            for first in range(int(self.known[part].min()), len(self.centres), self.pass_centres):
                self._measure_pass(part, values, first)
            self.known[part] = len(self.centres)

    def _measure_pass(self, rows: np.ndarray, values: np.ndarray, first: int) -> None:
        """Compares `rows` with the centres from number `first` on."""
        centres = np.array(self.centres[first : first + self.pass_centres], np.int64)
        margins = self.margins[rows]
        limit = np.minimum(np.square(self.exact[rows]) / _NEARLY, self.approximate[rows] + margins) + margins
        squared = self.squares[centres][:, None] - 2 * products(self._rows(centres), values) + self.squares[rows]
        is_new = np.arange(first, first + len(centres))[:, None] >= self.known[rows]
        which, place = np.nonzero(is_new & (squared <= limit))
        pairs = max(1, _ELEMENTS // self.columns)
        for start in range(0, len(which), pairs):
            member = rows[place[start : start + pairs]]
            centre = centres[which[start : start + pairs]]
            np.minimum.at(self.exact, member, row_distances(self.features[member], self.features[centre]))
