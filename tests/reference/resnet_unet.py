"""The decoder of the residual U-Net at inference for one image, in NumPy, from weights by name."""

from __future__ import annotations

import numpy as np

from tests.reference.group_resnet import _convolution, _norm


def decoder(maps, weights):
    """Returns logits (H, W, K); `maps` are the encoder's at 1/2, 1/4, 1/8, 1/16, 1/32 of the sides."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    *skips, x = maps
    for level in range(4, -1, -1):
        x = x.repeat(2, axis=0).repeat(2, axis=1)
        if level:
            x = np.concatenate([x, skips[level - 1]], axis=-1)
        for number in (1, 2):
            x = _convolution(x, weights[f"dec{level}.conv{number}/kernel"], 1)
            x = np.maximum(_norm(x, weights, f"dec{level}.bn{number}"), 0)
    return _convolution(x, weights["dec.out/kernel"], 1) + weights["dec.out/bias"]
