"""How far squared distances from single-precision matrix products can be from the true ones."""

from __future__ import annotations

import numpy as np

from fewslice.core.errors import ConfigError

UNIT = 2.0**-24  # unit roundoff of float32
COLUMNS = 1024  # columns of one matrix product; longer rows are added up from several
LARGEST_NORM = 1e18  # squares stay far below the largest float32
_SLACK = 1.25  # for the rounding of the bounds themselves and of the float64 distances they enclose


def norms(features: np.ndarray, *, rows: int = 128) -> np.ndarray:
    """Returns the (N,) float64 Euclidean norms of rows, computed in blocks of about `rows` rows of 1024 columns."""
    step = max(1, rows * COLUMNS // max(1, features.shape[1]))
    found = np.empty(len(features))
    for start in range(0, len(features), step):
        block = np.asarray(features[start : start + step], np.float64)
        found[start : start + step] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return found


def finite_norms(features: np.ndarray) -> np.ndarray:
    """Returns `norms`. Raises `ConfigError` for a row that is not finite or too long for float32."""
    found = norms(features)
    bad = np.flatnonzero(~(found <= LARGEST_NORM))
    if len(bad):
        raise ConfigError(
            f"The features or pixels of {len(bad)} units are not finite or longer than {LARGEST_NORM:g}, "
            f"for instance of the unit with index {bad[0]}. Look at these images."
        )
    return found


def margin(row_norms: np.ndarray, largest_centre: float, columns: int) -> np.ndarray:
    """Returns (N,) float64: how far |x|^2 + |c|^2 - 2 x.c in float32 can be from |x - c|^2.

    The product of `columns` terms, in pieces of 1024, in any order, of values that were rounded to float32, is off by
    at most gamma |x| |c| (Higham, "Accuracy and stability of numerical algorithms", section 3.1); the norms, their
    rounding and the two subtractions add a few unit roundoffs of (|x| + |c|)^2, products that underflow a constant.

    Args:
        row_norms: (N,) norms of the rows.
        largest_centre: Norm of the longest centre.
        columns: Number of columns.
    """
    terms = min(columns, COLUMNS) + columns / COLUMNS + 8
    gamma = terms * UNIT / (1 - terms * UNIT)
    product = 2 * gamma * row_norms * largest_centre
    return _SLACK * (product + 3 * UNIT * (row_norms + largest_centre) ** 2) + columns * 1e-37


def products(centres: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the (M, R) float32 products of centres (M, D) with rows (R, D), within what `margin` allows."""
    total = _product(centres[:, :COLUMNS], rows[:, :COLUMNS])
    for start in range(COLUMNS, rows.shape[1], COLUMNS):
        total += _product(centres[:, start : start + COLUMNS], rows[:, start : start + COLUMNS])
    return total


def _product(centres: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if len(centres) == 1:  # threads bring nothing here, and on a busy machine wait for each other at every pick
        return np.einsum("ij,j->i", rows, centres[0])[None]
    return centres @ rows.T
