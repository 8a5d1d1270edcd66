"""Mixup: convex combinations of random pairs of slices and of their one-hot labels.

Zhang et al., 2018, https://arxiv.org/abs/1710.09412.
"""

from __future__ import annotations

import numpy as np


def mix_pairs(
    images: np.ndarray, onehot: np.ndarray, *, weights: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weight * x[first] + (1 - weight) * x[second] of images and labels.

    Args:
        images: (batch, H, W, 1) float.
        onehot: (batch, H, W, K) float.
        weights: (n,) in [0, 1].
        pairs: (n, 2) rows of the batch.

    Returns:
        (n, H, W, 1) and (n, H, W, K) in the dtype of the inputs.

    Raises:
        TypeError: Integer input, which would lose the fractions.
    """
    mixed = []
    for name, array in (("images", images), ("onehot", onehot)):
        if not np.issubdtype(array.dtype, np.floating):
            raise TypeError(f"`{name}` must be floating point, labels one-hot. Received: dtype={array.dtype}")
        weight = np.asarray(weights, array.dtype).reshape(-1, *[1] * (array.ndim - 1))
        mixed.append(weight * array[pairs[:, 0]] + (1 - weight) * array[pairs[:, 1]])
    return mixed[0], mixed[1]


def random_mixup(
    rng: np.random.Generator | int, images: np.ndarray, *, onehot: np.ndarray, alpha: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Mixes as many random pairs as the batch has rows, with weights from Beta(alpha, alpha).

    Args:
        rng: Draws the weights, then the pairs (with replacement).
        images: (batch, H, W, 1) float.
        onehot: (batch, H, W, K) float.
        alpha: Parameter of the Beta distribution; small values keep one of the two nearly pure.

    Returns:
        Mixed images and labels of the same shapes and dtypes.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    batch = len(images)
    weights = rng.beta(alpha, alpha, size=batch)
    return mix_pairs(images, onehot, weights=weights, pairs=rng.integers(batch, size=(batch, 2)))
