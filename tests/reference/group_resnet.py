"""ResNet-18 and ResNet-50 at inference, in NumPy, from weights by name ("layer1.0.conv1/kernel", ...)."""

from __future__ import annotations

import numpy as np


def _convolution(x, kernel, stride):
    """(H, W, in) and (k, k, in, out) -> padded by (k - 1) / 2 on all sides."""
    size = kernel.shape[0]
    pad = (size - 1) // 2
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    rows, columns = ((side - size) // stride + 1 for side in x.shape[:2])
    out = np.zeros((rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = np.tensordot(window, kernel, 3)
    return out


def _norm(x, weights, name):
    mean, variance = weights[f"{name}/moving_mean"], weights[f"{name}/moving_variance"]
    return (x - mean) / np.sqrt(variance + 1e-5) * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def embedding(image, weights, depth=18):
    """Returns h of one (H, W, C) image."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    x = np.maximum(_norm(_convolution(image, weights["conv1/kernel"], 2), weights, "bn1"), 0)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, columns = ((side - 3) // 2 + 1 for side in padded.shape[:2])
    x = np.array(
        [[padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(0, 1)) for j in range(columns)] for i in range(rows)]
    )
    strided = 1 if depth == 18 else 2  # which convolution of a block has the stride
    for stage, count in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3), start=1):
        for index in range(count):
            name = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            way = x
            if f"{name}.downsample.0/kernel" in weights:
                way = _convolution(x, weights[f"{name}.downsample.0/kernel"], stride)
                way = _norm(way, weights, f"{name}.downsample.1")
            last = 2 if depth == 18 else 3
            for number in range(1, last + 1):
                step = stride if number == strided else 1
                x = _convolution(x, weights[f"{name}.conv{number}/kernel"], step)
                x = _norm(x, weights, f"{name}.bn{number}")
                x = np.maximum(x, 0) if number < last else x
            x = np.maximum(x + way, 0)
    return x.mean(axis=(0, 1))
