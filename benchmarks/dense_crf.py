"""Dense CRF: seconds per slice of 192 x 192 with 4 classes, against direct evaluations of the same sums.

python -m benchmarks.dense_crf

"windows" adds up shifted arrays within 3 sigma, "pairwise" multiplies by full (pixels, pixels) matrices. At 192 x 192
the first takes minutes and the second 5 GiB per matrix, so they are compared at a smaller size. One thread, a noisy
disc with a ring.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from absl import flags

from benchmarks import timing
from fewslice.core import app
from fewslice.refine.dense_crf import CrfParameters, parameter_set, refine

FLAGS = flags.FLAGS
CLASSES = 4


def case(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities (1, side, side, 4) and an image (1, side, side) of a disc, a ring and noise."""
    rng = np.random.default_rng(0)
    distance = np.hypot(*(np.indices((side, side)) - side / 2)) / side
    label = np.digitize(distance, (0.15, 0.22, 0.3))
    image = np.array([0.9, 0.3, 0.7, 0.1])[label] + rng.normal(0, 0.06, label.shape)
    logits = 3.0 * np.eye(CLASSES)[label] + rng.normal(0, 1, (side, side, CLASSES))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return probabilities[None].astype(np.float32), image[None].astype(np.float32)


def windows(probabilities: np.ndarray, images: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """Returns the marginals (K, H, W) of one slice by sums over the pixels within ceil(3 sigma) along each axis."""
    image, p = images[0], parameters
    kernels = []
    if p.smoothness_weight:
        kernels.append((p.smoothness_weight, _window_filter(image, p.smoothness_sigma_px, math.inf)))
    if p.appearance_weight:
        kernel = _window_filter(image, p.appearance_sigma_px, p.appearance_sigma_intensity)
        kernels.append((p.appearance_weight, kernel))
    return _mean_field(probabilities, kernels, p.iterations)


def pairwise(probabilities: np.ndarray, images: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """Returns the marginals (K, H, W) of one slice by full matrices."""
    image, p = images[0], parameters
    rows, columns = (index.ravel() for index in np.indices(image.shape))
    squared = np.subtract.outer(rows, rows) ** 2 + np.subtract.outer(columns, columns) ** 2
    difference = np.subtract.outer(image.ravel(), image.ravel())
    near = -0.5 * squared / p.smoothness_sigma_px**2
    alike = -0.5 * squared / p.appearance_sigma_px**2 - 0.5 * (difference / p.appearance_sigma_intensity) ** 2
    matrices = [(p.smoothness_weight, np.exp(near)), (p.appearance_weight, np.exp(alike))]
    kernels = []
    for weight, matrix in matrices:
        scale = 1 / np.sqrt(matrix.sum(axis=0))
        matrix = (matrix * scale * scale[:, None]).astype(np.float32)
        kernels.append((weight, lambda q, matrix=matrix: (q.reshape(len(q), -1) @ matrix).reshape(q.shape)))
    return _mean_field(probabilities, kernels, p.iterations)


def _window_filter(image: np.ndarray, sigma_px: float, sigma_intensity: float) -> Callable[[np.ndarray], np.ndarray]:
    radius = math.ceil(3 * sigma_px)
    flat = math.isinf(sigma_intensity)
    shifts = []
    for down in range(-min(radius, image.shape[0] - 1), min(radius, image.shape[0] - 1) + 1):
        for right in range(-min(radius, image.shape[1] - 1), min(radius, image.shape[1] - 1) + 1):
            target, source = _overlap(image.shape, (down, right))
            difference = image[target] - image[source]
            weight = np.exp(-0.5 * (down**2 + right**2) / sigma_px**2 - 0.5 * (difference / sigma_intensity) ** 2)
            shifts.append((target, source, weight.flat[0] if flat else weight.astype(np.float32)))

    def add_up(maps: np.ndarray) -> np.ndarray:
        result = np.zeros_like(maps)
        for target, source, weight in shifts:
            result[(..., *target)] += weight * maps[(..., *source)]
        return result

    scale = 1 / np.sqrt(add_up(np.ones((1, *image.shape), np.float32)))
    return lambda maps: scale * add_up(scale * maps)


def _overlap(shape: tuple[int, int], shift: tuple[int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    target = tuple(slice(max(0, -s), size - max(0, s)) for size, s in zip(shape, shift, strict=True))
    source = tuple(slice(max(0, s), size - max(0, -s)) for size, s in zip(shape, shift, strict=True))
    return target, source


def _mean_field(probabilities: np.ndarray, kernels: list, iterations: int) -> np.ndarray:
    log_unary = np.log(np.clip(np.moveaxis(probabilities[0], -1, 0), 1e-5, 1))
    scores = log_unary
    for _ in range(iterations + 1):
        exponentials = np.exp(scores - scores.max(axis=0))
        q = exponentials / exponentials.sum(axis=0)
        scores = log_unary + sum(np.float32(weight) * kernel(q) for weight, kernel in kernels)
    return q


def measure(
    plain: Callable, parameters: CrfParameters, side: int, *, seconds: float, most: int = 30, warm_up: int = 1
) -> tuple[dict[str, timing.Times], float]:
    """Returns the times of the direct evaluation and of ours per slice, and the largest difference of marginals."""
    probabilities, images = case(side)
    functions = {
        plain.__name__: lambda: plain(probabilities, images, parameters),
        "ours": lambda: refine(probabilities, images, parameters),
    }
    difference = np.abs(np.moveaxis(plain(probabilities, images, parameters), 0, -1) - functions["ours"]()[1][0]).max()
    return timing.interleave(functions, seconds=seconds, most=most, warm_up=warm_up), float(difference)


SIDE = 192
COMPARISONS = ((windows, "published"), (windows, "corrected"), (pairwise, "published"), (pairwise, "corrected"))


def main(_) -> None:
    """Measures and prints a table per comparison."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1):
        for name in ("published", "corrected"):
            times = timing.interleave({"ours": lambda name=name: refine(*case(SIDE), parameter_set(name))}, seconds=10)
            seconds = min(times["ours"].cpu)
            print(f"{name}, {SIDE} x {SIDE}, {CLASSES} classes: {seconds:.3f} s of CPU per slice (min)")
        for plain, name in COMPARISONS:
            parameters = parameter_set(name)
            times, difference = measure(plain, parameters, FLAGS.side, seconds=FLAGS.seconds)
            print(f"\n{name}, {FLAGS.side} x {FLAGS.side}, {parameters.iterations} iterations, per slice")
            print(timing.table(times))
            print(f"Largest difference of marginals {difference:.1e}")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_integer("side", 48, "Pixels of a side for the comparisons.", lower_bound=2)
    flags.DEFINE_float("seconds", 5, "How long to measure each comparison.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
