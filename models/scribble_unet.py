"""The U-Net of scribble-supervised segmentation, with one decoder or with two on one encoder.

Five levels; a block is convolution, batch normalisation, LeakyReLU, dropout, convolution, batch normalisation,
LeakyReLU (no dropout in a decoder). A decoder's step: 1x1 convolution to the channels of the skip connection, bilinear
enlargement, [skip, enlarged], block. The auxiliary decoder sees the encoder's maps with dropped channels.

Layers are called "enc0.conv1" ... "enc4.bn2", "main.up3.conv1x1" ... "main.up0.bn2", "main.out", and "aux..." likewise;
a number is that of the level, 0 the finest.

Reference: Luo et al., 2022, https://arxiv.org/abs/2203.02106, section 2.1; Ronneberger et al., 2015,
https://arxiv.org/abs/1505.04597. As segmentation network of active learning: Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.

Notes:
    Initial values are those of PyTorch's convolutions, as published: uniform within 1 / sqrt(fan-in), biases too.
    Normalisation: `models.layers.PYTORCH`.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from models.layers import PYTORCH, BatchNormalization
from models.unet import LayerSeeds, check_sides

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
FEATURE_DROPOUT = 0.5
MAIN, AUXILIARY = "main", "aux"


@keras.saving.register_keras_serializable("fewslice")
class FanInUniform(keras.initializers.Initializer):
    """Uniform numbers within 1 / sqrt(fan-in): Kaiming's with a = sqrt(5), the default of PyTorch's convolutions.

    Drawn by NumPy, so that every backend starts from the same values.

    Args:
        seed: Of the values.
        fan_in: Inputs of a unit; None takes the product of all axes but the last.
    """

    def __init__(self, seed: int, fan_in: int | None = None):
        self.seed = int(seed)
        self.fan_in = fan_in

    def __call__(self, shape, dtype=None):
        limit = (self.fan_in or int(np.prod(shape[:-1]))) ** -0.5
        values = np.random.default_rng(self.seed).uniform(-limit, limit, shape)
        return ops.convert_to_tensor(values, dtype or keras.config.floatx())

    def get_config(self):
        return {"seed": self.seed, "fan_in": self.fan_in}


@keras.saving.register_keras_serializable("fewslice")
class CornerUpsampling2D(layers.Layer):
    """Doubles height and width bilinearly, with the corner pixels staying in the corners.

    Output i of 2 n looks at position i (n - 1) / (2 n - 1): the even ones lie k / (2 n - 1) before pixel k, the odd
    ones (n - 1 - k) / (2 n - 1) after it, so that sums of neighbours replace a general interpolation.

    Input: (batch, height, width, channel). Output: (batch, 2 height, 2 width, channel).
    """

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height and 2 * height, width and 2 * width, channels)

    def call(self, inputs):
        return _doubled(_doubled(inputs, 2), 1)


def _doubled(x, axis: int):
    """Doubles one of the axes 1 and 2 of x (batch, height, width, channel)."""
    shape = list(x.shape)
    size = shape[axis]
    before = np.arange(size) / (2 * size - 1)
    weights = [-before, before[::-1]]
    if size > 1:
        first, later, inner = [0] * 4, [int(i == axis) for i in range(4)], [-1 if s is None else s for s in shape]
        inner[0], inner[axis] = ops.shape(x)[0], size - 1
        steps = ops.slice(x, later, inner) - ops.slice(x, first, inner)
        padded = [ops.pad(steps, [side if i == axis else (0, 0) for i in range(4)]) for side in ((1, 0), (0, 1))]
    else:
        padded = [ops.zeros_like(x)] * 2
    view = [size if i == axis else 1 for i in range(4)]
    pair = [
        x + step * ops.convert_to_tensor(weight.reshape(view), x.dtype)
        for step, weight in zip(padded, weights, strict=True)
    ]
    shape[0], shape[axis] = -1, 2 * size
    return ops.reshape(ops.stack(pair, axis=axis + 1), shape)


def _convolution(x, filters: int, name: str, seeds: LayerSeeds, *, kernel_size: int = 3, use_bias: bool = True):
    bias = FanInUniform(seeds(f"{name}/bias"), kernel_size**2 * x.shape[-1])
    options = {"padding": "same", "use_bias": use_bias, "kernel_initializer": FanInUniform(seeds(name)), "name": name}
    return layers.Conv2D(filters, kernel_size, bias_initializer=bias, **options)(x)


def _block(x, filters: int, name: str, seeds: LayerSeeds, *, dropout: float = 0.0):
    """Two convolutions with normalisation (which holds their biases) and LeakyReLU; dropout between them."""
    for number in (1, 2):
        bias = FanInUniform(seeds(f"{name}.conv{number}/bias"), 9 * x.shape[-1])
        x = _convolution(x, filters, f"{name}.conv{number}", seeds, use_bias=False)
        x = BatchNormalization(bias_initializer=bias, name=f"{name}.bn{number}", **PYTORCH)(x)
        x = layers.LeakyReLU(negative_slope=0.01, name=f"{name}.relu{number}")(x)
        if number == 1 and dropout:
            x = layers.Dropout(dropout, seed=seeds(f"{name}.dropout"), name=f"{name}.dropout")(x)
    return x


def _encoder(x, widths: Sequence[int], dropout: Sequence[float], seeds: LayerSeeds) -> list:
    """Returns the encoder's maps, finest first."""
    maps = []
    for level, (filters, rate) in enumerate(zip(widths, dropout, strict=True)):
        if level:
            x = layers.MaxPooling2D(2, name=f"enc{level}.pool")(x)
        x = _block(x, filters, f"enc{level}", seeds, dropout=rate)
        maps.append(x)
    return maps


def _decoder(maps: Sequence, num_classes: int, name: str, seeds: LayerSeeds):
    """Applies a decoder to the encoder's maps, finest first. Returns its logits."""
    x = maps[-1]
    for level in range(len(maps) - 2, -1, -1):
        skip = maps[level]
        at = f"{name}.up{level}"
        x = _convolution(x, skip.shape[-1], f"{at}.conv1x1", seeds, kernel_size=1)
        x = CornerUpsampling2D(name=f"{at}.enlarge")(x)
        x = layers.Concatenate(name=f"{at}.cat")([skip, x])
        x = _block(x, skip.shape[-1], at, seeds)
    return _convolution(x, num_classes, f"{name}.out", seeds)


def build_scribble_unet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    branches: int = 1,
    widths: Sequence[int] = WIDTHS,
    dropout: Sequence[float] = DROPOUT,
    seed: int = 0,
) -> keras.Model:
    """Builds the segmentation network.

    Args:
        input_shape: (height, width, channels); sides are multiples of 2^(levels - 1), 16 for five levels.
        num_classes: Classes including background.
        branches: 1, or 2 for a main and an auxiliary decoder.
        widths: Channels of each level, finest first.
        dropout: Share of the values that each encoder block drops in training, one per level.
        seed: Of the initial weights and of the dropout. Layers of the same name start alike whatever `branches` is.

    Returns:
        Model image (batch, height, width, channels) -> logits in the policy's compute dtype: (batch, height, width,
        num_classes) with one branch, (batch, height, width, 2, num_classes) with two, the main one first.

    Raises:
        ValueError: a number of branches other than 1 and 2, `dropout` that does not fit `widths`, sides that cannot be
            halved often enough.

    Notes:
        The published auxiliary decoder drops channels in evaluation too; here in training only. Only the main decoder
        is evaluated, so that no published number depends on it.
    """
    if branches not in (1, 2):
        raise ValueError(f"`branches` must be 1 or 2. Received: branches={branches}")
    if len(widths) < 2 or len(dropout) != len(widths) or min(widths) < 1 or not all(0 <= r < 1 for r in dropout):
        raise ValueError(
            "`widths` must hold at least two positive numbers and `dropout` one rate of [0, 1) for each. "
            f"Received: widths={tuple(widths)}, dropout={tuple(dropout)}"
        )
    check_sides(input_shape, 2 ** (len(widths) - 1))
    seeds = LayerSeeds(seed)
    inputs = keras.Input(input_shape, name="image")
    maps = _encoder(inputs, widths, dropout, seeds)
    outputs = _decoder(maps, num_classes, MAIN, seeds)
    if branches == 1:
        return keras.Model(inputs, outputs, name="scribble_unet")
    names = [f"{AUXILIARY}.dropout{level}" for level in range(len(maps))]
    drops = [layers.SpatialDropout2D(FEATURE_DROPOUT, seed=seeds(name), name=name) for name in names]
    dropped = [drop(x) for drop, x in zip(drops, maps, strict=True)]  # whole channels, in training
    pair = [outputs, _decoder(dropped, num_classes, AUXILIARY, seeds)]
    pair = [
        layers.Reshape((*input_shape[:2], 1, num_classes), name=f"{name}.logits")(x)
        for name, x in zip((MAIN, AUXILIARY), pair, strict=True)
    ]
    return keras.Model(inputs, layers.Concatenate(axis=-2, name="logits")(pair), name="scribble_unet_two_branches")


def main_branch(model: keras.Model) -> keras.Model:
    """Returns the network image -> logits (batch, height, width, classes) of the main decoder, on the same weights."""
    return keras.Model(model.inputs[0], model.get_layer(f"{MAIN}.out").output, name=f"{model.name}_main")


def encoder_maps(model: keras.Model, index: int = 0) -> keras.Model:
    """Returns the network image -> one of the encoder's maps, on the same weights.

    Args:
        model: A network of `build_scribble_unet`.
        index: Level, 0 (full resolution) to 4; -1 for the last.

    Raises:
        ValueError: There is no such level.
    """
    levels = sum(layer.name.endswith(".relu2") and layer.name.startswith("enc") for layer in model.layers)
    if not -1 <= index < levels:
        raise ValueError(f"`index` must be 0 to {levels - 1}. Received: index={index}")
    index %= levels
    return keras.Model(model.inputs[0], model.get_layer(f"enc{index}.relu2").output, name=f"{model.name}_enc{index}")
