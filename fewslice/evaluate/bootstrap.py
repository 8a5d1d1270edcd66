"""How much the Dice of one volume depends on its slices: resampling them with replacement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def bootstrap_dice(truth_mask: np.ndarray, prediction_mask: np.ndarray, generators: Iterable[Any]) -> np.ndarray:
    """Returns the Dice of volumes made of randomly drawn slices of one volume.

    Every slice is counted once (true positives, false positives, false negatives); a draw adds up the counts of as many
    slices as there are, drawn with replacement.

    Args:
        truth_mask: (X, Y, Z) bool, one structure.
        prediction_mask: The same shape.
        generators: One `numpy.random.Generator` (or `RandomState`) per draw, for instance
            `(np.random.default_rng([seed, draw]) for draw in range(1000))`.

    Returns:
        (draws,) float64; NaN where the drawn slices hold the structure in neither. Twice the standard deviation is the
        half-width that CoreCLR's authors give, of 1000 draws with `RandomState(seed + draw)`.

    Raises:
        ValueError: the shapes differ.

    Source:
        Evaluation of CoreCLR (Vepa et al. 2024, arXiv 2411.15763).
    """
    truth, prediction = np.asarray(truth_mask, bool), np.asarray(prediction_mask, bool)
    if truth.shape != prediction.shape:
        raise ValueError(f"Masks must have one shape. Received: {truth.shape}, {prediction.shape}")
    axes = tuple(range(truth.ndim - 1))
    common = (truth & prediction).sum(axis=axes)  # (Z,)
    sizes = truth.sum(axis=axes) + prediction.sum(axis=axes)
    result = []
    for generator in generators:
        chosen = generator.choice(len(sizes), len(sizes), replace=True)
        total = sizes[chosen].sum()
        result.append(2.0 * common[chosen].sum() / total if total else np.nan)
    return np.array(result, np.float64)
