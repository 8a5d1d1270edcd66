"""Deep supervision: the coarser levels of a decoder learn from the labels, too, each by a head of its own.

Reference: Dou et al., 2017, https://doi.org/10.1016/j.media.2017.05.001; weights as in Isensee et al., 2021, nnU-Net,
https://doi.org/10.1038/s41592-020-01008-z.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np

from models.joint import LOGITS
from models.unet import Architecture, LayerSeeds, convolution

_MOST = 3  # coarser levels with a head


def scales(arch: Architecture) -> dict[str, int]:
    """Returns output -> by which factor it is coarser than the image, finest first.

    >>> scales(Architecture((16, 32, 64)))
    {'logits': 1, 'logits_2': 2}
    """
    return {LOGITS: 1} | {f"{LOGITS}_{2**level}": 2**level for level in range(1, min(_MOST + 1, arch.num_blocks))}


def loss_weights(names: Iterable[str]) -> dict[str, float]:
    """Returns output -> weight of its loss: half that of the finer one, 1 in all."""
    weights = {name: 0.5**place for place, name in enumerate(names)}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def with_deep_heads(unet: keras.Model, factors: dict[str, int], *, seed: int = 0) -> keras.Model:
    """Returns the network image -> {output: logits} on the weights of `unet`, which predicts without the heads.

    Args:
        unet: From `models.build_unet`.
        factors: Of `scales`.
        seed: Of the heads' initial weights.
    """
    outputs, classes = {LOGITS: unet.output}, unet.output.shape[-1]
    for name, factor in factors.items():
        if factor > 1:
            features = unet.get_layer(f"dec_c{factor.bit_length()}_b_relu").output
            outputs[name] = convolution(features, classes, f"deep_{factor}", LayerSeeds(seed), kernel_size=1)
    return keras.Model(unet.input, outputs, name="deep_unet")


def at_scales(labels: np.ndarray, factors: dict[str, int]) -> dict[str, np.ndarray]:
    """Returns output -> targets: (batch, H, W, K) one-hot or soft labels, and their means over squares of pixels.

    A square with a pixel that is not annotated (zeros) is not annotated.
    """
    batch, height, width, classes = labels.shape
    found = {}
    for name, factor in factors.items():
        squares = labels.reshape(batch, height // factor, factor, width // factor, factor, classes)
        means = squares.mean(axis=(2, 4))
        found[name] = labels if factor == 1 else means * (means.sum(axis=-1, keepdims=True) > 1 - 1e-3)
    return found
