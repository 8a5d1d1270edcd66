"""Largest connected components by flood fill."""

from __future__ import annotations

import numpy as np


def largest_components(labels):
    """Of each image (N, H, W) and foreground class the largest component of 8 neighbours, the first if equal."""
    kept = np.zeros_like(labels)
    for image, result in zip(labels, kept, strict=True):
        best = {}
        seen = np.zeros(image.shape, bool)
        for start in np.ndindex(image.shape):
            if image[start] and not seen[start]:
                pixels = _flood(image, seen, start)
                if len(pixels) > len(best.get(image[start], [])):
                    best[image[start]] = pixels
        for value, pixels in best.items():
            for pixel in pixels:
                result[pixel] = value
    return kept


def _flood(image, seen, start):
    seen[start] = True
    pixels = [start]
    for row, column in pixels:  # grows while it is read
        for r in range(max(row - 1, 0), min(row + 2, image.shape[0])):
            for c in range(max(column - 1, 0), min(column + 2, image.shape[1])):
                if image[r, c] == image[start] and not seen[r, c]:
                    seen[r, c] = True
                    pixels.append((r, c))
    return pixels
