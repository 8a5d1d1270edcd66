"""The U-Net of contrastive pretraining, as an encoder, decoder blocks and heads.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4.

Layers have the names of the published weight files (`enc_c1_a`, `dec_dc6`, `seg_fin_layer`, ...), so that weights move
between networks by name (`models.transfer`). Only head g2 is called `loc_*`: its published names are those of the
segmentation head, which has other shapes.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from models.layers import BatchNormalization, RegionVectors, UpsampledConv2D

ENCODER_FILTERS = (16, 32, 64, 128, 128, 128)
GLOBAL_HIDDEN = 1024
EMBEDDING_SIZE = 128


def he_normal(seed: int | None) -> keras.initializers.Initializer:
    """Untruncated normal with variance 2 / fan-in. `seed` makes it independent of the order of creation."""
    return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=seed)


class LayerSeeds:
    """Gives every layer its own initial values, a function of one seed and the layer's name."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, name: str) -> int:
        return int(np.random.SeedSequence([self.seed, *name.encode()]).generate_state(1)[0] >> 1)


def convolution(x, filters: int, name: str, seeds: LayerSeeds, *, kernel_size: int = 3):
    """Convolution without bias."""
    options = {"padding": "same", "use_bias": False, "kernel_initializer": he_normal(seeds(name)), "name": name}
    return layers.Conv2D(filters, kernel_size, **options)(x)


def conv_block(
    x, filters: int, name: str, seeds: LayerSeeds, *, kernel_size: int = 3, bias: bool = True, upsample=False
):
    """Convolution, batch normalisation (with the convolution's bias), ReLU."""
    if upsample:
        x = UpsampledConv2D(filters, he_normal(seeds(name)), name=name)(x)
    else:
        x = convolution(x, filters, name, seeds, kernel_size=kernel_size)
    x = BatchNormalization(use_bias=bias, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def check_sides(image_shape: tuple[int, ...], step: int = 32) -> None:
    """Raises `ValueError` unless height and width are positive multiples of `step`."""
    for side in image_shape[:2]:
        if side < step or side % step:
            raise ValueError(f"Image sides must be positive multiples of {step}. Received: {side}")


def check_at_least_one(**numbers: int) -> None:
    """Raises `ValueError` if a number is below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}")


def encoder_outputs(inputs, seed: int = 0) -> list:
    """Applies the encoder to `inputs` (batch, height, width, channel). Returns its levels, finest first."""
    check_sides(inputs.shape[1:3], 2 ** (len(ENCODER_FILTERS) - 1))
    seeds = LayerSeeds(seed)
    levels = []
    x = inputs
    for level, filters in enumerate(ENCODER_FILTERS, start=1):
        if level > 1:
            x = layers.MaxPooling2D(2, name=f"enc_pool{level - 1}")(x)
        x = conv_block(x, filters, f"enc_c{level}_a", seeds)
        x = conv_block(x, filters, f"enc_c{level}_b", seeds)
        levels.append(x)
    return levels


def decoder_outputs(levels: list, num_blocks: int | None = None, seed: int = 0) -> list:
    """Applies the first `num_blocks` decoder blocks (None: all) to the encoder's levels. Returns each one's output."""
    most = len(levels) - 1
    num_blocks = most if num_blocks is None else num_blocks
    if not 1 <= num_blocks <= most:
        raise ValueError(f"`num_blocks` must be 1 to {most}. Received: num_blocks={num_blocks}")
    seeds = LayerSeeds(seed)
    outputs = []
    x = levels[-1]
    for level in range(most, most - num_blocks, -1):
        filters = ENCODER_FILTERS[level - 1]
        x = conv_block(x, filters, f"dec_dc{level + 1}", seeds, upsample=True)
        x = layers.Concatenate(name=f"dec_cat{level}")([x, levels[level - 1]])
        x = conv_block(x, filters, f"dec_c{level}_a", seeds)
        if level > 1:
            x = conv_block(x, filters, f"dec_c{level}_b", seeds)
        outputs.append(x)
    return outputs


def build_encoder(image_shape: tuple[int, int, int], *, seed: int = 0) -> keras.Model:
    """Builds the encoder alone: image -> its six levels, finest first."""
    inputs = keras.Input(image_shape, name="image")
    return keras.Model(inputs, encoder_outputs(inputs, seed), name="encoder")


def build_unet(image_shape: tuple[int, int, int], num_classes: int, *, seed: int = 0) -> keras.Model:
    """Builds the segmentation network.

    Args:
        image_shape: (height, width, channels); sides are multiples of 32.
        num_classes: Classes including background.
        seed: Of the initial weights.

    Returns:
        Model image (batch, height, width, channels) -> logits (batch, height, width, num_classes) in the policy's
        compute dtype.
    """
    inputs = keras.Input(image_shape, name="image")
    x = decoder_outputs(encoder_outputs(inputs, seed), seed=seed)[-1]
    seeds = LayerSeeds(seed)
    x = conv_block(x, 16, "seg_c1_a", seeds)
    x = conv_block(x, 16, "seg_c1_b", seeds)
    return keras.Model(inputs, convolution(x, num_classes, "seg_fin_layer", seeds), name="unet")


def build_global_net(image_shape: tuple[int, int, int], *, seed: int = 0) -> keras.Model:
    """Builds the encoder with head g1: image -> embedding (batch, 128), not normalised."""
    inputs = keras.Input(image_shape, name="image")
    seeds = LayerSeeds(seed)
    x = layers.Flatten(name="reg_flatten")(encoder_outputs(inputs, seed)[-1])
    for name, units, activation in (("reg_nn1", GLOBAL_HIDDEN, "relu"), ("reg_pred", EMBEDDING_SIZE, None)):
        initializer = keras.initializers.GlorotUniform(seed=seeds(name))
        x = layers.Dense(units, activation, use_bias=False, kernel_initializer=initializer, name=name)(x)
    return keras.Model(inputs, x, name="encoder_g1")


def local_map(inputs, num_blocks: int, seed: int = 0):
    """Applies encoder, `num_blocks` decoder blocks and head g2 to `inputs`. Returns the map of embeddings."""
    seeds = LayerSeeds(seed)
    x = decoder_outputs(encoder_outputs(inputs, seed), num_blocks, seed)[-1]
    x = conv_block(x, x.shape[-1], "loc_c1_a", seeds, kernel_size=1, bias=False)
    return convolution(x, x.shape[-1], "loc_c1_b", seeds, kernel_size=1)


def local_map_size(image_shape: tuple[int, int, int], num_blocks: int) -> tuple[int, int]:
    """Returns height and width of the map of decoder block `num_blocks`."""
    scale = 2 ** (len(ENCODER_FILTERS) - 1 - num_blocks)
    return image_shape[0] // scale, image_shape[1] // scale


def build_local_net(
    image_shape: tuple[int, int, int],
    num_blocks: int,
    *,
    positions,
    region_size: int,
    use_projection: bool,
    seed: int = 0,
) -> keras.Model:
    """Builds encoder, decoder blocks and head g2: image -> region embeddings (batch, U, D), not normalised.

    Args:
        image_shape: (height, width, channels).
        num_blocks: Decoder blocks, 1 to 5.
        positions: (U, 2) corners of the regions on the map.
        region_size: 1 or 3.
        use_projection: Whether 3x3 regions are projected to 128 dimensions (`wgt_en`); 1x1 regions never are.
        seed: Of the initial weights.
    """
    inputs = keras.Input(image_shape, name="image")
    x = RegionVectors(positions, region_size, name="loc_regions")(local_map(inputs, num_blocks, seed))
    if use_projection and region_size > 1:
        initializer = keras.initializers.GlorotUniform(seed=LayerSeeds(seed)("loc_pred"))
        x = layers.Dense(EMBEDDING_SIZE, use_bias=False, kernel_initializer=initializer, name="loc_pred")(x)
    return keras.Model(inputs, x, name=f"decoder{num_blocks}_g2")
