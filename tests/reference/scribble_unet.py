"""The scribble U-Net at inference for one image, in NumPy, from weights by name; and its enlargement as loops."""

from __future__ import annotations

import numpy as np


def enlarged(x):
    """Bilinear doubling of (H, W, C) with corners on corners."""
    height, width, channels = x.shape
    out = np.zeros((2 * height, 2 * width, channels))
    for i in range(2 * height):
        for j in range(2 * width):
            row, column = i * (height - 1) / (2 * height - 1), j * (width - 1) / (2 * width - 1)
            for r in range(height):
                for c in range(width):
                    out[i, j] += max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c)) * x[r, c]
    return out


def _convolution(x, kernel, bias):
    size = kernel.shape[0] // 2
    padded = np.pad(x, ((size, size), (size, size), (0, 0)))
    out = np.zeros((*x.shape[:2], kernel.shape[3]))
    for i, j in np.ndindex(x.shape[:2]):
        out[i, j] = np.tensordot(padded[i : i + kernel.shape[0], j : j + kernel.shape[0]], kernel, 3) + bias
    return out


def _block(x, weights, name):
    for number in (1, 2):
        norm = {key: weights[f"{name}.bn{number}/{key}"] for key in ("beta", "gamma", "moving_mean", "moving_variance")}
        x = _convolution(x, weights[f"{name}.conv{number}/kernel"], weights[f"{name}.bn{number}/bias"])
        x = (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-5) * norm["gamma"] + norm["beta"]
        x = np.where(x > 0, x, 0.01 * x)
    return x


def forward(image, weights, *, levels, decoder="main"):
    """Returns logits (H, W, K) and the encoder's maps."""
    maps, x = [], image
    for level in range(levels):
        if level:
            height, width, channels = x.shape
            x = x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
        x = _block(x, weights, f"enc{level}")
        maps.append(x)
    for level in range(levels - 2, -1, -1):
        at = f"{decoder}.up{level}"
        x = _convolution(x, weights[f"{at}.conv1x1/kernel"], weights[f"{at}.conv1x1/bias"])
        x = _block(np.concatenate([maps[level], enlarged(x)], axis=-1), weights, at)
    return _convolution(x, weights[f"{decoder}.out/kernel"], weights[f"{decoder}.out/bias"]), maps
