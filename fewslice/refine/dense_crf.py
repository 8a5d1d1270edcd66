"""Dense-CRF refinement of class probabilities by mean-field updates, NumPy only, slice by slice.

Two pixel kernels, both Gaussian, contain the pixel itself, end at the border of the image, and are normalised
symmetrically: K~ = n^-1/2 K n^-1/2 with n = K 1, so a constant map stays nearly constant and no pixel counts more for
having more neighbours. No kernel is ever held as a (pixels, pixels) matrix.

Reference: Kraehenbuehl and Koltun, 2011, https://arxiv.org/abs/1210.5644, equation 3; used for pseudo-labels by
Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.train.predict import softmax_in_place

LEAST_PROBABILITY = 1e-5
SUM_TOLERANCE = 1e-2
MOST_ITERATIONS = 1000
NO_NEIGHBOUR = 1e-8  # weight of the next pixel below which a kernel holds the pixel itself only
APPEARANCE_ERROR = 1e-3  # bound on the error of an unnormalised filtered value, for maps within [0, 1]
MOST_FACTORS = 256
_CHUNK_BYTES = 1 << 24

Kernel = Callable[[np.ndarray], np.ndarray]  # (K, H, W) float32 -> a filtered array of the same shape


@dataclass(frozen=True)
class CrfParameters:
    """The six numbers of the dense CRF, in the order of the published lists.

    Widths are in pixels of the prepared slice, not in mm: on pixels that are not square the kernels are not round.
    A weight of 0 switches a kernel off.

    Attributes:
        appearance_sigma_px: Width of the bilateral kernel in space, pixels. Below about 0.16 it holds the pixel
            itself only and intensities have no influence.
        appearance_sigma_intensity: Its width in intensity; prepared slices have their percentiles 1 and 99 at 0 and
            1.
        appearance_weight: Its weight.
        smoothness_sigma_px: Width of the Gaussian kernel, pixels.
        smoothness_weight: Its weight.
        iterations: Mean-field updates; 0 takes the most probable class.

    Raises:
        ConfigError: values that are not finite or out of range, all of them at once.
    """

    appearance_sigma_px: float
    appearance_sigma_intensity: float
    appearance_weight: float
    smoothness_sigma_px: float
    smoothness_weight: float
    iterations: int

    def __post_init__(self):
        problems = []
        for name, value in vars(self).items():
            if name == "iterations":
                if value != int(value) or not 0 <= value <= MOST_ITERATIONS:
                    problems.append(f"`iterations` must be an integer in 0 ... {MOST_ITERATIONS}. Received: {value}")
            elif not math.isfinite(value) or value < 0 or (value == 0 and "sigma" in name):
                least = "positive" if "sigma" in name else "0 or more"
                problems.append(f"`{name}` must be finite and {least}. Received: {value}")
        if problems:
            raise ConfigError("\n".join(problems))


NONE = "none"

# A name, or name_dataset for a set of one dataset. docs/results.md holds the measurements behind "corrected" and says
# that it gains little.
PARAMETER_SETS = {
    NONE: CrfParameters(1.0, 1.0, 0.0, 1.0, 0.0, 0),
    "published": CrfParameters(0.01, 0.5, 10.0, 10.0, 30.0, 30),
    "published_prostate_md": CrfParameters(0.01, 0.5, 10.0, 5.0, 30.0, 30),
    "corrected": CrfParameters(5.0, 0.1, 3.0, 3.0, 3.0, 5),
}


def parameter_set(name: str, dataset: str = "") -> CrfParameters:
    """Returns the set called `name`, that of a dataset where it has its own.

    Args:
        name: "none", "published" or "corrected".
        dataset: Name of a dataset, for instance "prostate_md".

    Raises:
        ConfigError: no such set.

    Source:
        Published numbers: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, as in the published code.

    Notes:
        The published width of 0.01 px makes the bilateral kernel the identity, so that intensities play no part, and
        the smoothing of 10 px with weight 30 removes small structures. The numbers are kept as they are under
        "published"; "corrected" differs in all of them.
    """
    if f"{name}_{dataset}" in PARAMETER_SETS:
        return PARAMETER_SETS[f"{name}_{dataset}"]
    if name not in PARAMETER_SETS:
        raise ConfigError(unknown_name("CRF parameter set", name, PARAMETER_SETS))
    return PARAMETER_SETS[name]


def refine(probabilities: np.ndarray, images: np.ndarray, parameters: CrfParameters) -> tuple[np.ndarray, np.ndarray]:
    """Refines the class probabilities of slices with a fully connected CRF; slices do not influence each other.

    With U = -log(clip(p, 1e-5, 1)), the two kernels and the Potts model, Q starts as softmax(-U) and is
    updated in parallel: Q <- softmax(-U + w_g K~_g Q + w_a K~_a Q). The same input gives the same output, up to
    rounding where the number of threads of the matrix products differs.

    Memory: besides input and output, of one slice 5 (K + R) maps (R about twice the range of the slice in units
    of `appearance_sigma_intensity`) and 48 MiB.

    Args:
        probabilities: (N, H, W, K) float in [0, 1], sum 1 over the classes; 2 <= K <= 256.
        images: (N, H, W) float, normalised intensities.
        parameters: Widths, weights, iterations.

    Returns:
        Labels (N, H, W) uint8, the lowest of classes that are equally probable, and marginals (N, H, W, K) float32,
        sum 1 over the classes. After 0 iterations labels are the arg-max of `probabilities`.

    Raises:
        ValueError: shapes disagree, values are not finite or not in [0, 1], or a sum differs from 1 by more than
            1e-2 (logits, for instance; a smaller difference comes from low precision and is normalised away).

    Notes:
        Differs from the published code, which filters with an approximation (permutohedral lattice), in that the
        Gaussian filter is exact and the bilateral one has a bounded error (`APPEARANCE_ERROR`). A bilateral kernel too
        narrow to reach a neighbour is the identity in both.
    """
    probabilities, images = np.asarray(probabilities), np.asarray(images)
    _check(probabilities, images)
    labels = np.empty(images.shape, np.uint8)
    marginals = np.empty(probabilities.shape, np.float32)
    smoothness = smoothness_kernel(images.shape[1:], parameters.smoothness_sigma_px)
    for index, (values, image) in enumerate(zip(probabilities, images, strict=True)):
        q = _mean_field(np.moveaxis(values, -1, 0), image, smoothness, parameters)
        marginals[index] = np.moveaxis(q, 0, -1)
        labels[index] = values.argmax(axis=-1) if parameters.iterations == 0 else q.argmax(axis=0)
    return labels, marginals


def _mean_field(
    probabilities: np.ndarray, image: np.ndarray, smoothness: Kernel, parameters: CrfParameters
) -> np.ndarray:
    """Returns the marginals (K, H, W) float32 of one slice."""
    log_unary = np.log(np.clip(probabilities.astype(np.float32), LEAST_PROBABILITY, 1.0))
    q = softmax_in_place(log_unary.copy())
    if not parameters.iterations:
        return q
    messages = [(np.float32(parameters.smoothness_weight), smoothness)] if parameters.smoothness_weight else []
    if parameters.appearance_weight:
        kernel = appearance_kernel(image, parameters.appearance_sigma_px, parameters.appearance_sigma_intensity)
        messages.append((np.float32(parameters.appearance_weight), kernel))
    for _ in range(int(parameters.iterations)):
        scores = log_unary.copy()
        for weight, kernel in messages:
            scores += weight * kernel(q)
        q = softmax_in_place(scores)
    return q


def _check(probabilities: np.ndarray, images: np.ndarray) -> None:
    if probabilities.ndim != 4 or images.ndim != 3 or probabilities.shape[:3] != images.shape:
        raise ValueError(
            "`probabilities` must be (N, H, W, K) and `images` (N, H, W). "
            f"Received: {probabilities.shape} and {images.shape}"
        )
    if not 2 <= probabilities.shape[3] <= 256 or 0 in images.shape[1:]:
        raise ValueError(f"Slices must have pixels and 2 to 256 classes. Received: {probabilities.shape}")
    for name, array in (("probabilities", probabilities), ("images", images)):
        wrong = array.size - np.count_nonzero(np.isfinite(array))
        if wrong:
            raise ValueError(f"`{name}` must be finite. Received: {wrong} NaN or infinite of {array.size} values")
    if not probabilities.size:
        return
    lowest, highest = probabilities.min(), probabilities.max()
    furthest = max(float(np.abs(values.sum(axis=-1) - 1.0).max()) for values in probabilities)
    if lowest < -SUM_TOLERANCE or highest > 1.0 + SUM_TOLERANCE or furthest > SUM_TOLERANCE:
        raise ValueError(
            "`probabilities` must lie in [0, 1] and sum to 1 over the classes (the softmax of the logits). "
            f"Received: {lowest:g} ... {highest:g}, sums that differ from 1 by up to {furthest:g}"
        )


def _reaches_no_neighbour(sigma_px: float) -> bool:
    return np.exp(-0.5 / np.float64(sigma_px) ** 2) < NO_NEIGHBOUR


def _gaussian_matrix(size: int, sigma_px: float) -> np.ndarray:
    """Returns (size, size) float64: exp(-(i - j)^2 / (2 sigma^2)) along one axis."""
    distance = np.subtract.outer(np.arange(size, dtype=np.float64), np.arange(size))
    return np.exp(-0.5 * (distance / sigma_px) ** 2)


def smoothness_kernel(shape: tuple[int, int], sigma_px: float) -> Kernel:
    """Returns exp(-|p_i - p_j|^2 / (2 sigma^2)), normalised: an exact Gaussian filter, as two matrix products.

    In-image sums n are products of a sum along each axis, so the normalised kernel is separable too.

    Args:
        shape: (H, W) of the slices.
        sigma_px: Width in pixels.
    """
    if _reaches_no_neighbour(sigma_px):
        return lambda maps: maps
    matrices = []
    for size in shape:
        matrix = _gaussian_matrix(size, sigma_px)
        scale = 1.0 / np.sqrt(matrix.sum(axis=0))
        matrices.append((matrix * scale * scale[:, None]).astype(np.float32))
    rows, columns = matrices
    return lambda maps: np.matmul(rows, np.matmul(maps, columns))


def appearance_kernel(image: np.ndarray, sigma_px: float, sigma_intensity: float) -> Kernel:
    """Returns exp(-|p_i - p_j|^2 / (2 sigma_px^2) - (I_i - I_j)^2 / (2 sigma_I^2)), normalised: the bilateral kernel.

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
    if _reaches_no_neighbour(sigma_px):
        return lambda maps: maps
    spatial = [_gaussian_matrix(size, sigma_px) for size in image.shape]
    rows, columns = (matrix.astype(np.float32) for matrix in spatial)
    reach = float(np.prod([matrix.sum(axis=0).max() for matrix in spatial]))
    factors = intensity_factors(image, sigma_intensity, tolerance=APPEARANCE_ERROR / reach).astype(np.float32)

    def apply(maps: np.ndarray) -> np.ndarray:
        result = np.zeros_like(maps)
        step = max(1, _CHUNK_BYTES // maps.nbytes)
        for start in range(0, len(factors), step):
            chosen = factors[start : start + step, None]  # (r, 1, H, W)
            filtered = np.matmul(rows, np.matmul(chosen * maps, columns))
            filtered *= chosen
            result += filtered.sum(axis=0)
        return result

    sums = apply(np.ones((1, *image.shape), np.float32))[0]
    factors /= np.sqrt(np.maximum(sums, 1.0))  # at least the pixel itself
    return apply


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
