"""Greedy k-center and MultiFeature Coreset written plainly, all distances anew at each pick; without Keras."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def squares(features: np.ndarray, centre: int) -> np.ndarray:
    """Returns the (N,) squared distances to one row from float64 differences, in blocks."""
    result = np.empty(len(features))
    for start in range(0, len(features), 2048):
        difference = features[start : start + 2048].astype(np.float64) - features[centre].astype(np.float64)
        result[start : start + 2048] = np.square(difference, out=difference).sum(axis=1)
    return result


def mfc(pixels: np.ndarray, masks: np.ndarray, features: np.ndarray, centre: int) -> np.ndarray:
    """Returns the (N,) MFC distances to one slice, from float64 differences of the pixels under its scribble."""
    drawn = np.flatnonzero(masks[centre].reshape(-1) != 4)
    values = pixels[drawn].astype(np.float64)  # (pixels, N)
    distances = np.sqrt(np.square(values - values[:, [centre]]).sum(axis=0)) * 1500 / len(drawn)
    return distances + np.sqrt(12 * squares(features, centre))


def greedy(distances: Callable[[int], np.ndarray], picks: int) -> list[int]:
    """Returns the picks after unit 0 with a full update of all distances per pick."""
    nearest, chosen = distances(0), []
    for _ in range(picks):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, distances(chosen[-1]))
    return chosen
