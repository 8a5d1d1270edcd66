"""The U-Net of contrastive pretraining, as an encoder, decoder blocks and heads.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4.

Layers have the names of the published weight files (`enc_c1_a`, `dec_dc6`, `seg_fin_layer`, ...), so that weights move
between networks by name (`models.transfer`). Only head g2 is called `loc_*`: its published names are those of the
segmentation head, which has other shapes.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import layers

from models.layers import BatchNormalization, RegionVectors, UpsampledConv2D

GLOBAL_HIDDEN = 1024
EMBEDDING_SIZE = 128
ENCODER_FILTERS = (16, 32, 64, 128, 128, 128)  # of the published network


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Depth, width and normalisation of a U-Net.

    Attributes:
        widths: Channels of each level, finest first; each level has half the size of the one before.
        normalisation: "batch", or "instance": each image and channel by itself, so that nothing is gathered for
            inference.
    """

    widths: tuple[int, ...] = dataclasses.field(default_factory=lambda: ENCODER_FILTERS)
    normalisation: str = "batch"

    @property
    def num_blocks(self) -> int:
        """Number of decoder blocks."""
        return len(self.widths) - 1

    @property
    def step(self) -> int:
        """The number that height and width must be multiples of."""
        return 2**self.num_blocks


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
    x,
    filters: int,
    name: str,
    seeds: LayerSeeds,
    *,
    kernel_size: int = 3,
    bias: bool = True,
    upsample: bool = False,
    normalisation: str = "batch",
):
    """Convolution, normalisation (that of the batch holds the convolution's bias), ReLU."""
    if upsample:
        x = UpsampledConv2D(filters, he_normal(seeds(name)), name=name)(x)
    else:
        x = convolution(x, filters, name, seeds, kernel_size=kernel_size)
    if normalisation == "instance":
        x = layers.GroupNormalization(groups=-1, epsilon=1e-5, name=f"{name}_in")(x)
    else:
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


def encoder_outputs(inputs, seed: int = 0, arch: Architecture | None = None) -> list:
    """Applies the encoder to `inputs` (batch, height, width, channel). Returns its levels, finest first."""
    arch = arch or Architecture()
    check_sides(inputs.shape[1:3], arch.step)
    seeds, how = LayerSeeds(seed), {"normalisation": arch.normalisation}
    levels = []
    x = inputs
    for level, filters in enumerate(arch.widths, start=1):
        if level > 1:
            x = layers.MaxPooling2D(2, name=f"enc_pool{level - 1}")(x)
        x = conv_block(x, filters, f"enc_c{level}_a", seeds, **how)
        x = conv_block(x, filters, f"enc_c{level}_b", seeds, **how)
        levels.append(x)
    return levels


def decoder_outputs(
    levels: list, num_blocks: int | None = None, seed: int = 0, arch: Architecture | None = None
) -> list:
    """Applies the first `num_blocks` decoder blocks (None: all) to the encoder's levels. Returns each one's output."""
    arch = arch or Architecture()
    num_blocks = arch.num_blocks if num_blocks is None else num_blocks
    if not 1 <= num_blocks <= arch.num_blocks:
        raise ValueError(f"`num_blocks` must be 1 to {arch.num_blocks}. Received: num_blocks={num_blocks}")
    seeds, how = LayerSeeds(seed), {"normalisation": arch.normalisation}
    outputs = []
    x = levels[-1]
    for level in range(arch.num_blocks, arch.num_blocks - num_blocks, -1):
        filters = arch.widths[level - 1]
        x = conv_block(x, filters, f"dec_dc{level + 1}", seeds, upsample=True, **how)
        x = layers.Concatenate(name=f"dec_cat{level}")([x, levels[level - 1]])
        x = conv_block(x, filters, f"dec_c{level}_a", seeds, **how)
        if level > 1:
            x = conv_block(x, filters, f"dec_c{level}_b", seeds, **how)
        outputs.append(x)
    return outputs


def build_encoder(image_shape: tuple[int, int, int], *, seed: int = 0, arch: Architecture | None = None) -> keras.Model:
    """Builds the encoder alone: image -> its levels, finest first."""
    inputs = keras.Input(image_shape, name="image")
    return keras.Model(inputs, encoder_outputs(inputs, seed, arch), name="encoder")


def build_unet(
    image_shape: tuple[int, int, int], num_classes: int, *, seed: int = 0, arch: Architecture | None = None
) -> keras.Model:
    """Builds the segmentation network.

    Args:
        image_shape: (height, width, channels); sides are multiples of `arch.step`, 32 of the published network.
        num_classes: Classes including background.
        seed: Of the initial weights.
        arch: Depth, width and normalisation; None: the published ones.

    Returns:
        Model image (batch, height, width, channels) -> logits (batch, height, width, num_classes) in the policy's
        compute dtype.
    """
    arch = arch or Architecture()
    inputs = keras.Input(image_shape, name="image")
    x = decoder_outputs(encoder_outputs(inputs, seed, arch), seed=seed, arch=arch)[-1]
    seeds = LayerSeeds(seed)
    x = conv_block(x, 16, "seg_c1_a", seeds, normalisation=arch.normalisation)
    x = conv_block(x, 16, "seg_c1_b", seeds, normalisation=arch.normalisation)
    return keras.Model(inputs, convolution(x, num_classes, "seg_fin_layer", seeds), name="unet")


def build_global_net(
    image_shape: tuple[int, int, int], *, seed: int = 0, arch: Architecture | None = None
) -> keras.Model:
    """Builds the encoder with head g1: image -> embedding (batch, 128), not normalised."""
    inputs = keras.Input(image_shape, name="image")
    seeds = LayerSeeds(seed)
    x = layers.Flatten(name="reg_flatten")(encoder_outputs(inputs, seed, arch)[-1])
    for name, units, activation in (("reg_nn1", GLOBAL_HIDDEN, "relu"), ("reg_pred", EMBEDDING_SIZE, None)):
        initializer = keras.initializers.GlorotUniform(seed=seeds(name))
        x = layers.Dense(units, activation, use_bias=False, kernel_initializer=initializer, name=name)(x)
    return keras.Model(inputs, x, name="encoder_g1")


def local_map(inputs, num_blocks: int, seed: int = 0, arch: Architecture | None = None):
    """Applies encoder, `num_blocks` decoder blocks and head g2 to `inputs`. Returns the map of embeddings."""
    arch = arch or Architecture()
    seeds = LayerSeeds(seed)
    x = decoder_outputs(encoder_outputs(inputs, seed, arch), num_blocks, seed, arch)[-1]
    how = {"kernel_size": 1, "bias": False, "normalisation": arch.normalisation}
    x = conv_block(x, x.shape[-1], "loc_c1_a", seeds, **how)
    return convolution(x, x.shape[-1], "loc_c1_b", seeds, kernel_size=1)


def local_map_size(
    image_shape: tuple[int, int, int], num_blocks: int, arch: Architecture | None = None
) -> tuple[int, int]:
    """Returns height and width of the map of decoder block `num_blocks`."""
    arch = arch or Architecture()
    scale = 2 ** (arch.num_blocks - num_blocks)
    return image_shape[0] // scale, image_shape[1] // scale


def build_local_net(
    image_shape: tuple[int, int, int],
    num_blocks: int,
    *,
    positions,
    region_size: int,
    use_projection: bool,
    seed: int = 0,
    arch: Architecture | None = None,
) -> keras.Model:
    """Builds encoder, decoder blocks and head g2: image -> region embeddings (batch, U, D), not normalised.

    Args:
        image_shape: (height, width, channels).
        num_blocks: Decoder blocks, 1 to `arch.num_blocks`.
        positions: (U, 2) corners of the regions on the map.
        region_size: 1 or 3.
        use_projection: Whether 3x3 regions are projected to 128 dimensions (`wgt_en`); 1x1 regions never are.
        seed: Of the initial weights.
        arch: Depth, width and normalisation; None: the published ones.
    """
    inputs = keras.Input(image_shape, name="image")
    x = RegionVectors(positions, region_size, name="loc_regions")(local_map(inputs, num_blocks, seed, arch))
    if use_projection and region_size > 1:
        initializer = keras.initializers.GlorotUniform(seed=LayerSeeds(seed)("loc_pred"))
        x = layers.Dense(EMBEDDING_SIZE, use_bias=False, kernel_initializer=initializer, name="loc_pred")(x)
    return keras.Model(inputs, x, name=f"decoder{num_blocks}_g2")
