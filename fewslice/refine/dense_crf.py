"""Dense-CRF refinement of class probabilities by mean-field updates, NumPy only, slice by slice.

Reference: Kraehenbuehl and Koltun, 2011, https://arxiv.org/abs/1210.5644; used for pseudo-labels by Chaitanya et al.,
2021, https://arxiv.org/abs/2112.09645, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fewslice.refine.kernels import AppearanceKernel, SmoothnessKernel, is_identity
from fewslice.refine.parameters import PARAMETER_SETS, CrfParameters, parameter_set

__all__ = ["PARAMETER_SETS", "CrfParameters", "parameter_set", "refine"]

LEAST_PROBABILITY = 1e-5
SUM_TOLERANCE = 1e-2

_Message = tuple[float, Callable[[np.ndarray], np.ndarray]]


def refine(probabilities: np.ndarray, images: np.ndarray, parameters: CrfParameters) -> tuple[np.ndarray, np.ndarray]:
    """Refines the class probabilities of slices with a fully connected CRF; slices do not influence each other.

    With U = -log(clip(p, 1e-5, 1)), the two kernels of `kernels` and the Potts model, Q starts as softmax(-U) and is
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
        Gaussian filter is exact and the bilateral one has a bounded error (see `kernels`). A bilateral kernel too
        narrow to reach a neighbour is the identity in both.
    """
    probabilities, images = np.asarray(probabilities), np.asarray(images)
    _check(probabilities, images)
    labels = np.empty(images.shape, np.uint8)
    marginals = np.empty(probabilities.shape, np.float32)
    smoothness = _smoothness(images.shape[1:], parameters)
    for index, (values, image) in enumerate(zip(probabilities, images, strict=True)):
        messages = smoothness + _appearance(image, parameters)
        q = _mean_field(np.moveaxis(values, -1, 0), messages, iterations=int(parameters.iterations))
        marginals[index] = np.moveaxis(q, 0, -1)
        labels[index] = values.argmax(axis=-1) if parameters.iterations == 0 else q.argmax(axis=0)
    return labels, marginals


def _mean_field(probabilities: np.ndarray, messages: list[_Message], *, iterations: int) -> np.ndarray:
    """Returns the marginals (K, H, W) float32 of one slice."""
    log_unary = np.log(np.clip(probabilities.astype(np.float32), LEAST_PROBABILITY, 1.0))
    q = _softmax(log_unary.copy())
    for _ in range(iterations):
        scores = log_unary.copy()
        for weight, kernel in messages:
            scores += np.float32(weight) * kernel(q)
        q = _softmax(scores)
    return q


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Returns the softmax over the first axis, in place."""
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=0)
    return scores


def _smoothness(shape: tuple[int, int], parameters: CrfParameters) -> list[_Message]:
    if not parameters.smoothness_weight or not parameters.iterations:
        return []
    if is_identity(parameters.smoothness_sigma_px):
        return [(parameters.smoothness_weight, _same)]
    return [(parameters.smoothness_weight, SmoothnessKernel(shape, parameters.smoothness_sigma_px))]


def _appearance(image: np.ndarray, parameters: CrfParameters) -> list[_Message]:
    if not parameters.appearance_weight or not parameters.iterations:
        return []
    if is_identity(parameters.appearance_sigma_px):
        return [(parameters.appearance_weight, _same)]
    kernel = AppearanceKernel(image, parameters.appearance_sigma_px, parameters.appearance_sigma_intensity)
    return [(parameters.appearance_weight, kernel)]


def _same(maps: np.ndarray) -> np.ndarray:
    return maps


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
