"""A U-Net whose encoder is a residual network, so that pretrained encoders can start it.

The encoder is that of `models.resnet`, with the same layer names: weights of group contrastive training are copied by
name (`models.copy_by_name`). Each of the five decoder steps doubles the map (nearest neighbour), joins the encoder's
map of that size, [enlarged, skip], and applies two 3x3 convolutions with normalisation and ReLU; the last step, to the
size of the image, has nothing to join. Layers: "dec0.conv1" ... "dec4.bn2" (0 the finest), "dec.out".

Reference: Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597; He et al., 2016,
https://arxiv.org/abs/1512.03385. As segmentation network of active learning (pretrained weights of LVM-Med, Nguyen et
al., 2023, https://arxiv.org/abs/2306.11925): Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from models.layers import PYTORCH, BatchNormalization
from models.resnet import WIDTH, resnet_outputs
from models.unet import LayerSeeds, check_sides

DECODER_WIDTHS = (256, 128, 64, 32, 16)


def build_resnet_unet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int = 50,
    width: int = WIDTH,
    decoder_widths: Sequence[int] = DECODER_WIDTHS,
    seed: int = 0,
) -> keras.Model:
    """Builds the segmentation network.

    Args:
        input_shape: (height, width, channels); sides are multiples of 32.
        num_classes: Classes including background.
        depth: Of the encoder, 18 or 50.
        width: Channels of the encoder's first stage.
        decoder_widths: Channels of the five decoder steps, coarsest first.
        seed: Of the initial weights. The encoder starts as that of `build_group_encoder` with the same seed.

    Returns:
        Model image (batch, height, width, channels) -> logits (batch, height, width, num_classes) in the policy's
        compute dtype.

    Raises:
        ValueError: an unknown depth, other than five decoder widths, sides that are no multiples of 32.

    Example:
        >>> network = build_resnet_unet((64, 64, 1), 4, depth=18)
        >>> report = copy_by_name(network, read_weights(build_group_encoder((64, 64, 1))))  # all but its head
    """
    if len(decoder_widths) != len(DECODER_WIDTHS) or min(decoder_widths) < 1:
        raise ValueError(
            f"`decoder_widths` must be {len(DECODER_WIDTHS)} positive numbers. Received: {tuple(decoder_widths)}"
        )
    check_sides(input_shape)
    seeds = LayerSeeds(seed)
    inputs = keras.Input(input_shape, name="image")
    stages = resnet_outputs(inputs, depth=depth, width=width, seed=seed)[:-1]
    first = keras.Model(inputs, stages[-1]).get_layer("relu").output  # half the size, before the maximum
    *skips, x = [first, *stages]
    for level, filters in zip(range(len(decoder_widths) - 1, -1, -1), decoder_widths, strict=True):
        x = layers.UpSampling2D(2, name=f"dec{level}.enlarge")(x)
        if level:
            x = layers.Concatenate(name=f"dec{level}.cat")([x, skips[level - 1]])
        x = _block(x, filters, f"dec{level}", seeds)
    initializer = keras.initializers.GlorotUniform(seed=seeds("dec.out"))
    logits = layers.Conv2D(num_classes, 3, padding="same", kernel_initializer=initializer, name="dec.out")(x)
    return keras.Model(inputs, logits, name=f"resnet{depth}_unet")


def _block(x, filters: int, name: str, seeds: LayerSeeds):
    """Two 3x3 convolutions without bias, each with normalisation and ReLU."""
    for number in (1, 2):
        conv = f"{name}.conv{number}"
        initializer = keras.initializers.HeUniform(seed=seeds(conv))
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=initializer, name=conv)(x)
        x = BatchNormalization(use_bias=False, name=f"{name}.bn{number}", **PYTORCH)(x)
        x = layers.ReLU(name=f"{name}.relu{number}")(x)
    return x
