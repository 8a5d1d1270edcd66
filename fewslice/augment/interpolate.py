"""Sampling that every spatial transform here shares: linear taps of an axis, bilinear points, the nearest pixel.

The linear ones work on float32, spend their time inside NumPy and SciPy calls that release the interpreter lock,
keep no state but small tables that depend on sizes only, and give the same bits whatever the number of
threads (no BLAS).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse


class LinearTaps(NamedTuple):
    """Where each output position of one axis takes its value: weight_low * x[low] + weight_high * x[high].

    `low` and `high` are intp, the weights float32, all of shape (n_out,). Read-only, because tables are
    shared.
    """

    low: np.ndarray
    high: np.ndarray
    weight_low: np.ndarray
    weight_high: np.ndarray


def read_only(*arrays: np.ndarray) -> list[np.ndarray]:
    """Returns the arrays, which can no longer be written to: tables that are shared."""
    for array in arrays:
        array.setflags(write=False)
    return list(arrays)


@lru_cache(maxsize=512)
def mirrored_taps(n_in: int, n_out: int) -> LinearTaps:
    """Returns the taps of a linear resize from `n_in` to `n_out` samples with half-pixel centres.

    Output j looks at (j + 0.5) * n_in / n_out - 0.5. Indices outside mirror without repeating the edge (-1 ->
    1).
    """
    position = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    low = np.floor(position).astype(np.intp)
    fraction = position - low

    def mirror(index: np.ndarray) -> np.ndarray:
        index = np.abs(index)
        return np.clip(np.where(index > n_in - 1, 2 * (n_in - 1) - index, index), 0, n_in - 1)

    return LinearTaps(
        *read_only(mirror(low), mirror(low + 1), (1 - fraction).astype(np.float32), fraction.astype(np.float32))
    )


def separable_sample(image: np.ndarray, rows: LinearTaps, columns: LinearTaps) -> np.ndarray:
    """Returns the image sampled at the product grid of two sets of taps.

    Args:
        image: (H, W) float32.
        rows: Taps into H, n_rows of them.
        columns: Taps into W, n_columns of them.

    Returns:
        (n_rows, n_columns) float32.
    """
    left = np.take(image, columns.low, axis=1, mode="clip")  # (H, n_columns)
    right = np.take(image, columns.high, axis=1, mode="clip")
    left *= columns.weight_low
    right *= columns.weight_high
    left += right
    top = np.take(left, rows.low, axis=0, mode="clip")  # (n_rows, n_columns)
    bottom = np.take(left, rows.high, axis=0, mode="clip")
    top *= rows.weight_low[:, None]
    bottom *= rows.weight_high[:, None]
    top += bottom
    return top


class BilinearSampler:
    """Makes matrices that sample images bilinearly.

    The product of such a matrix with a flattened image (H * W,), or with several at once (H * W, C), is the
    sampled image: it is built once for an image and all channels of its label.

    A sampler owns the memory of its matrix and uses it again for the next one, since fresh pages from the
    system for each image can cost more than the work (192 x 192: 1.4 ms with, 0.35 ms without). So a matrix
    is valid until the next call, and a sampler belongs to one thread.

    Args:
        shape: (H, W) of the images to sample and of the result, both at least 2.
    """

    def __init__(self, shape: tuple[int, int]):
        self.shape = shape
        self._top, self._left = np.empty(shape, np.int32), np.empty(shape, np.int32)
        self._down, self._across = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._up, self._back = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self._indices = np.empty((*shape, 4), np.int32)
        self._weights = np.empty((*shape, 4), np.float32)
        self._pointers = np.arange(0, 4 * shape[0] * shape[1] + 1, 4, dtype=np.int32)

    def operator(self, rows: np.ndarray, columns: np.ndarray) -> sparse.csr_array:
        """Returns the matrix that samples at points. Those outside the image are moved to its edge.

        Args:
            rows: (H, W) float32 or float64, row coordinates in pixels. Changed in place.
            columns: (H, W), column coordinates. Changed in place.

        Returns:
            (H * W, H * W) float32 with four entries per row, non-negative, summing to 1.
        """
        from scipy.sparse import csr_array  # the program of an exported network needs this module, and has no SciPy

        height, width = self.shape
        self._split(rows, height, self._top, self._down, self._up)
        self._split(columns, width, self._left, self._across, self._back)
        corner = self._top
        corner *= np.int32(width)
        corner += self._left
        taps = (
            (0, self._up, self._back),
            (1, self._up, self._across),
            (width, self._down, self._back),
            (width + 1, self._down, self._across),
        )
        for tap, (offset, vertical, horizontal) in enumerate(taps):
            np.add(corner, np.int32(offset), out=self._indices[..., tap])
            np.multiply(vertical, horizontal, out=self._weights[..., tap])
        data = (self._weights.reshape(-1), self._indices.reshape(-1), self._pointers)
        return csr_array(data, shape=(height * width, height * width))

    @staticmethod
    def _split(position: np.ndarray, side: int, low: np.ndarray, fraction: np.ndarray, rest: np.ndarray) -> None:
        """Writes the lower neighbour, the fraction above it and 1 - fraction."""
        np.clip(position, 0, side - 1, out=position)
        np.copyto(low, position, casting="unsafe")  # truncation is floor, since nothing is negative
        np.minimum(low, side - 2, out=low)
        np.subtract(position, low, out=fraction, casting="same_kind")
        np.subtract(np.float32(1), fraction, out=rest)


def resize_nearest(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns the image (H, W, ...) with height and width `shape`: the nearest pixel, corners on corners.

    Output pixel i shows input pixel floor(i (a - 1) / (b - 1) + 1/2) of an axis of a pixels that gets b.

    Notes:
        Differs from the published code, which resizes with SciPy: where its rounding errors put the last pixel outside
        (256 to 216, for instance) it leaves a border of zeros.
    """
    rows, columns = (nearest_sources(size, new) for size, new in zip(image.shape[:2], shape, strict=True))
    return image[rows[:, None], columns]


def nearest_sources(size: int, new: int) -> np.ndarray:
    """Returns the (new,) input index of every output index."""
    if new == 1:
        return np.zeros(1, np.int64)
    return (2 * np.arange(new) * (size - 1) + (new - 1)) // (2 * (new - 1))


def inside(shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the mask of the points (rows, columns), in pixels, that lie within an image of `shape` (H, W)."""
    return (rows >= 0) & (rows <= shape[0] - 1) & (columns >= 0) & (columns <= shape[1] - 1)


def nearest_at(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the pixel of (H, W, ...) nearest to each point, the higher at ties; outside, the edge is repeated."""
    height, width = image.shape[:2]
    index = np.clip(columns + 0.5, 0, width - 1).astype(np.intp)
    index += np.clip(rows + 0.5, 0, height - 1).astype(np.intp) * width
    return np.take(image.reshape(height * width, *image.shape[2:]), index, axis=0, mode="clip")
