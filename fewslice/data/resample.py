"""Resizing one axis: a sparse matrix for linear interpolation, a list of indices for nearest neighbours.

Linear resizing with values outside taken as zero is separable, so an axis is one matrix, cached by its sizes.
It is equal to `skimage.transform.rescale` / `resize` (mode "constant", preserve_range) of scikit-image 0.26,
including the Gaussian against aliasing, for any installed version. Cropping is a choice of the matrix' rows
(of the result) or columns (of the input), so nothing outside the result is ever computed.
`nearest_indices` puts the edges of the first and last pixel on each other, `augment.interpolate.resize_nearest` their
centres.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import scipy.ndimage
import scipy.sparse

Matrix = scipy.sparse.csr_array


def rescaled_size(size: int, factor: float) -> int:
    """Returns the pixels of an axis after rescaling: round(factor * size), halves to even, at least 1."""
    return max(int(np.round(factor * size)), 1)


def overlap(length: int, wanted: int) -> tuple[slice, slice]:
    """Returns the part that is kept of an axis of `length`, and its place in an axis of `wanted` pixels.

    A longer axis keeps [(length - wanted) // 2, + wanted), a shorter one starts at (wanted - length) // 2.
    """
    if length > wanted:
        start = (length - wanted) // 2
        return slice(start, start + wanted), slice(0, wanted)
    start = (wanted - length) // 2
    return slice(0, length), slice(start, start + length)


@functools.lru_cache(maxsize=64)
def resize_matrix(size: int, new_size: int, *, smooth: bool) -> Matrix:
    """Returns the (new_size, size) float64 matrix of linear resizing along one axis, zero outside.

    With `smooth`, a shrinking axis is first filtered by a Gaussian of (size / new_size - 1) / 2 pixels.
    """
    matrix = np.eye(size)
    sigma = (size / new_size - 1.0) / 2.0
    if smooth and sigma > 0:
        matrix = scipy.ndimage.gaussian_filter1d(matrix, sigma, axis=0, mode="grid-constant")
    if new_size != size:
        zoom = (new_size / size, 1.0)
        matrix = scipy.ndimage.zoom(matrix, zoom, order=1, mode="grid-constant", grid_mode=True)
    return Matrix(matrix)


@functools.lru_cache(maxsize=64)
def matrix_rows(size: int, new_size: int, *, smooth: bool, start: int, stop: int) -> Matrix:
    """Returns `resize_matrix` for the resized pixels [start, stop) only."""
    return Matrix(resize_matrix(size, new_size, smooth=smooth)[start:stop])


@functools.lru_cache(maxsize=64)
def matrix_columns(size: int, new_size: int, *, smooth: bool, start: int, stop: int) -> Matrix:
    """Returns `resize_matrix` for an input that is zero outside the pixels [start, stop)."""
    return Matrix(resize_matrix(size, new_size, smooth=smooth)[:, start:stop])


@functools.lru_cache(maxsize=64)
def nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Returns the (new_size,) indices of the nearest pixels of an axis, read-only."""
    indices = np.arange(size, dtype=np.float64)
    if new_size != size:
        zoom = new_size / size
        indices = scipy.ndimage.zoom(indices, zoom, order=0, mode="grid-constant", grid_mode=True)
    indices = indices.astype(np.intp)
    indices.setflags(write=False)
    return indices


def resample_slices(volume: np.ndarray, axes: Sequence[Matrix]) -> np.ndarray:
    """Applies one matrix to each in-plane axis; every slice stays within its own range of values.

    Args:
        volume: (X, Y, Z) of any real dtype; the working copy is float64, so pass few slices at once.
        axes: The matrices (X', X) and (Y', Y).

    Returns:
        (X', Y', Z) float64.
    """
    rows, columns = axes
    volume = np.asarray(volume, np.float64)
    low, high = volume.min(axis=(0, 1)), volume.max(axis=(0, 1))
    depth = volume.shape[2]
    half = (rows @ volume.reshape(volume.shape[0], -1)).reshape(rows.shape[0], -1, depth)
    full = columns @ half.transpose(1, 0, 2).reshape(columns.shape[1], -1)
    return np.clip(full.reshape(-1, rows.shape[0], depth).transpose(1, 0, 2), low, high)


def label_of_slice(maps: np.ndarray, axes: Sequence[Matrix], *, padded: bool) -> np.ndarray:
    """Resizes class maps and returns the most probable class; ties take the lowest.

    Args:
        maps: (X, Y, K), non-negative.
        axes: The matrices (X', X) and (Y', Y).
        padded: Whether the maps stand in a larger slice of zeros; values are clipped to the slice's range.

    Returns:
        (X', Y') uint8.
    """
    rows, columns = axes
    low, high = maps.min(initial=0.0 if padded else np.inf), maps.max()
    depth, (num_y, num_classes) = rows.shape[0], maps.shape[1:]
    half = rows @ maps.reshape(maps.shape[0], -1).astype(np.float64, copy=False)  # (X', Y * K)
    half = half.reshape(depth, num_y, num_classes).transpose(1, 2, 0).reshape(num_y, -1)
    full = (columns @ half).reshape(-1, num_classes, depth)  # (Y', K, X')
    if low > 0:
        np.clip(full, low, high, out=full)
    best, label = full[:, 0].copy(), np.zeros((full.shape[0], depth), np.uint8)
    for index in range(1, num_classes):
        label[full[:, index] > best] = index
        np.maximum(best, full[:, index], out=best)
    return label.T
