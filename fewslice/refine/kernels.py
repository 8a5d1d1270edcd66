"""The two pixel kernels of a fully connected CRF, ready to be applied to class maps.

Both are Gaussian, contain the pixel itself, end at the border of the image, and are normalised symmetrically:
K~ = n^-1/2 K n^-1/2 with n = K 1, so a constant map stays nearly constant and no pixel counts more for having more
neighbours. No kernel is ever held as a (pixels, pixels) matrix.

Reference: Kraehenbuehl and Koltun, 2011, https://arxiv.org/abs/1210.5644, equation 3.
"""

from __future__ import annotations

import numpy as np

NO_NEIGHBOUR = 1e-8  # weight of the next pixel below which a kernel holds the pixel itself only
APPEARANCE_ERROR = 1e-3  # bound on the error of an unnormalised filtered value, for maps within [0, 1]
MOST_FACTORS = 256
_CHUNK_BYTES = 1 << 24


def is_identity(sigma_px: float) -> bool:
    """Tells whether a Gaussian of this width, in pixels, reaches no neighbour."""
    return np.exp(-0.5 / np.float64(sigma_px) ** 2) < NO_NEIGHBOUR


def gaussian_matrix(size: int, sigma_px: float) -> np.ndarray:
    """Returns (size, size) float64: exp(-(i - j)^2 / (2 sigma^2)) along one axis."""
    distance = np.subtract.outer(np.arange(size, dtype=np.float64), np.arange(size))
    return np.exp(-0.5 * (distance / sigma_px) ** 2)


class SmoothnessKernel:
    """exp(-|p_i - p_j|^2 / (2 sigma^2)), normalised: an exact Gaussian filter, as two matrix products.

    In-image sums n are products of a sum along each axis, so the normalised kernel is separable too.

    Args:
        shape: (H, W) of the slices.
        sigma_px: Width in pixels.
    """

    def __init__(self, shape: tuple[int, int], sigma_px: float):
        self._rows, self._columns = (_normalised(gaussian_matrix(size, sigma_px)) for size in shape)

    def __call__(self, maps: np.ndarray) -> np.ndarray:
        """Filters (..., H, W) float32 and returns a new array of the same shape."""
        return np.matmul(self._rows, np.matmul(maps, self._columns))


class AppearanceKernel:
    """exp(-|p_i - p_j|^2 / (2 sigma_px^2) - (I_i - I_j)^2 / (2 sigma_I^2)), normalised: the bilateral kernel.

    The intensity part is written as a sum of products, exp(-(a - b)^2 / (2 sigma_I^2)) = sum_r f_r(a) f_r(b), after
    which each product needs a separable Gaussian filter only. How many products there are depends on the range of
    the intensities in sigma_I (about 2 per sigma_I), not on `sigma_px`, and the error is bounded by
    `APPEARANCE_ERROR` for maps within [0, 1].

    Args:
        image: (H, W), finite.
        sigma_px: Width in space, pixels.
        sigma_intensity: Width in the units of the image.

    Raises:
        ValueError: the intensities span far too many `sigma_intensity`.
    """

    def __init__(self, image: np.ndarray, sigma_px: float, sigma_intensity: float):
        spatial = [gaussian_matrix(size, sigma_px) for size in image.shape]
        self._rows, self._columns = (matrix.astype(np.float32) for matrix in spatial)
        reach = float(np.prod([matrix.sum(axis=0).max() for matrix in spatial]))
        factors = intensity_factors(image, sigma_intensity, tolerance=APPEARANCE_ERROR / reach)
        self._factors = factors.astype(np.float32)  # (R, H, W)
        sums = self(np.ones((1, *image.shape), np.float32))[0]
        self._factors /= np.sqrt(np.maximum(sums, 1.0))  # at least the pixel itself

    @property
    def num_factors(self) -> int:
        """R, the number of products that stand for the intensity part."""
        return len(self._factors)

    def __call__(self, maps: np.ndarray) -> np.ndarray:
        """Filters (K, H, W) float32 and returns a new array of the same shape."""
        result = np.zeros_like(maps)
        step = max(1, _CHUNK_BYTES // maps.nbytes)
        for start in range(0, self.num_factors, step):
            chosen = self._factors[start : start + step, None]  # (r, 1, H, W)
            filtered = np.matmul(self._rows, np.matmul(chosen * maps, self._columns))
            filtered *= chosen
            result += filtered.sum(axis=0)
        return result


def intensity_factors(image: np.ndarray, sigma_intensity: float, *, tolerance: float) -> np.ndarray:
    """Factorises the Gaussian kernel of intensities by an incomplete Cholesky decomposition with pivots.

    The remainder is positive semi-definite, so its largest diagonal element, at which the loop stops, bounds all.

    Args:
        image: (H, W), finite.
        sigma_intensity: Width in the units of the image.
        tolerance: Largest error of any element of the kernel.

    Returns:
        (R, H, W) float64 f with |sum_r f_r(i) f_r(j) - exp(-(I_i - I_j)^2 / (2 sigma^2))| <= tolerance for all pixels
        i and j; a constant image has R = 1.

    Raises:
        ValueError: more than `MOST_FACTORS` would be needed.
    """
    scaled = np.asarray(image, np.float64).ravel() / sigma_intensity
    factors: list[np.ndarray] = []
    remainder = np.ones_like(scaled)
    while remainder[pivot := int(remainder.argmax())] > tolerance:
        if len(factors) == MOST_FACTORS:
            raise ValueError(
                "`images` must be normalised so that their intensities span at most about a hundred times "
                f"`appearance_sigma_intensity`. Received: {np.min(image):g} ... {np.max(image):g} with "
                f"appearance_sigma_intensity={sigma_intensity:g}"
            )
        column = np.exp(-0.5 * (scaled - scaled[pivot]) ** 2)
        for factor in factors:
            column -= factor[pivot] * factor
        column /= np.sqrt(remainder[pivot])
        remainder -= column**2
        factors.append(column)
    return np.stack(factors).reshape(-1, *np.shape(image))


def _normalised(kernel: np.ndarray) -> np.ndarray:
    scale = 1.0 / np.sqrt(kernel.sum(axis=0))
    return (kernel * scale * scale[:, None]).astype(np.float32)
