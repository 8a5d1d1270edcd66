"""The graph of CoreGCN: units are joined by the cosine of their features, less so if their slices lie apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

_TINY = 1e-10
_ROUNDING = 8  # a unit without neighbours has a sum of so many rounding errors at most


def _within_k(apart: np.ndarray) -> np.ndarray:
    return (apart <= 1).astype(float)


def _inverse(apart: np.ndarray) -> np.ndarray:
    return 1.0 / np.maximum(apart, 1)


def _exponential(apart: np.ndarray) -> np.ndarray:
    return np.exp(1.0 - np.maximum(apart, 1))


SLICE_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "k_slice_wt": _within_k,
    "inv_slice_wt": _inverse,
    "exp_slice_wt": _exponential,
}


def slice_weights(name: str, apart: np.ndarray) -> np.ndarray:
    """Returns what the similarity of two slices is multiplied with.

    Args:
        name: "k_slice_wt": 1 up to one slice apart, else 0. "inv_slice_wt": 1 / max(d, 1). "exp_slice_wt":
            exp(1 - max(d, 1)).
        apart: (...) int, d, by how many slices they lie apart, at least 0.

    Raises:
        ConfigError: unknown name.

    Notes:
        Published are these three functions, but no code that could use them: the branch stopped with an error. The
        formulas follow from recorded values at d = 0, 1, 3, 4, which leave open whether the first is 1 or 0 at d = 2.
    """
    if name not in SLICE_WEIGHTS:
        raise ConfigError(unknown_name("adj_sim_wt_metric", name, SLICE_WEIGHTS))
    return SLICE_WEIGHTS[name](np.asarray(apart))


class SimilarityGraph:
    """The matrix A + I, A_ij = (w_ij x_i . x_j - [i = j]) / (sum_k A'_kj + 1e-10), A' before the division.

    x are features of length 1, w are 1 or the weights of `slice_weights` by the slices' positions in their volumes,
    whichever volumes these are. The matrix is not made where there are fewer features than units: it is a product of
    the features with themselves, so that memory is linear in the number of units (times the number of different
    positions, if these count) and a step costs units x features. Where there are more features, the (N, N) products
    are held.

    Args:
        features: (N, D) float. Rows are scaled to length 1; float64 stays, all else becomes float32.
        positions: (N,) int, places of the slices in their volumes; only looked at with `weighting`.
        weighting: A name of `slice_weights`, or None.

    Attributes:
        rows: (N, D) the scaled features.

    Notes:
        A unit whose similarities are all 0 keeps what it has; the division by 1e-10 would blow rounding errors up.
        Where features have both signs a column sum can be near 0 and the matrix large; the formula is the published
        one, made for features behind a ReLU.
    """

    def __init__(self, features: np.ndarray, positions: np.ndarray | None = None, weighting: str | None = None):
        dtype = np.float64 if np.asarray(features).dtype == np.float64 else np.float32
        rows = np.array(features, dtype, order="C")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
        self.rows = rows
        self._weights = self._groups = self._products = None
        if weighting is not None:
            levels, place = np.unique(positions, return_inverse=True)
            self._weights = slice_weights(weighting, np.abs(levels[:, None] - levels)).astype(dtype)  # (P, P)
            self._groups = [np.flatnonzero(place == level) for level in range(len(levels))]
        if rows.shape[1] > len(rows):
            self._products = rows @ rows.T
            if weighting is not None:
                self._products *= self._weights[place][:, place]
        sums = self._times(np.ones((len(rows), 1), dtype)) - 1  # (N, 1)
        is_alone = np.abs(sums) <= _ROUNDING * np.finfo(dtype).eps
        self._scale = np.where(is_alone, 0, 1 / (sums + dtype(_TINY)))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Returns the matrix times (N, K) values."""
        scaled = self._scale * values
        return self._times(scaled) - scaled + values

    def spread_back(self, values: np.ndarray) -> np.ndarray:
        """Returns the transposed matrix times (N, K) values, for gradients."""
        return self._scale * (self._times(values) - values) + values

    def _times(self, values: np.ndarray) -> np.ndarray:
        """Returns the matrix of w_ij x_i . x_j times (N, K) values."""
        if self._products is not None:
            return self._products @ values
        if self._groups is None:
            return self.rows @ (self.rows.T @ values)
        sums = np.stack([self.rows[group].T @ values[group] for group in self._groups])  # (P, D, K)
        mixed = np.tensordot(self._weights, sums, axes=1)
        out = np.empty((len(self.rows), values.shape[1]), np.result_type(self.rows, values))
        for group, sum_of_near in zip(self._groups, mixed, strict=True):
            out[group] = self.rows[group] @ sum_of_near
        return out
