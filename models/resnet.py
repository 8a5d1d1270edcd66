"""Residual networks as encoders of slices, and the projection head of group contrastive training.

ResNet-18 and ResNet-50 without the classifier: the embedding h is the global average of the last map. Layers have the
names of torchvision's ("conv1", "layer1.0.bn2", "layer2.0.downsample.0", ...), those of the head are "proj_nn1" and
"proj_pred".

Reference: He et al., 2016, https://arxiv.org/abs/1512.03385; the head: Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.

Notes:
    ResNet-50 has its stride in the 3x3 convolution, as torchvision. Normalisation: `models.layers.PYTORCH`.
    The published training sends the two views through the network one after the other, each with its own batch
    statistics. Here both are rows of one batch and share them, as in SimCLR on one device.
"""

from __future__ import annotations

import keras
from keras import layers

from models.layers import PYTORCH, BatchNormalization
from models.unet import LayerSeeds, he_normal

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}  # depth -> residual blocks of each of the four stages
EXPANSION = {18: 1, 50: 4}  # output channels of a block / its width
WIDTH = 64
PROJECTION_SIZE = 64
EMBEDDING = "avgpool"  # layer whose output is h


def _convolution(x, filters: int, name: str, seeds: LayerSeeds, *, kernel_size: int = 3, strides: int = 1):
    """Convolution without bias that pads by (kernel size - 1) / 2 on all sides, whatever the stride."""
    same = strides == 1
    if not same and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=seeds(name))
    options = {"strides": strides, "padding": "same" if same else "valid", "use_bias": False, "name": name}
    return layers.Conv2D(filters, kernel_size, kernel_initializer=initializer, **options)(x)


def _normalised(x, name: str):
    return BatchNormalization(use_bias=False, name=name, **PYTORCH)(x)


def _block(x, width: int, name: str, seeds: LayerSeeds, *, depth: int, strides: int):
    """A residual block: two 3x3 convolutions (depth 18), or 1x1, 3x3, 1x1 (depth 50), and the way around them."""
    out = width * EXPANSION[depth]
    plan = ((3, width, strides), (3, width, 1)) if depth == 18 else ((1, width, 1), (3, width, strides), (1, out, 1))
    shortcut = x
    if strides != 1 or x.shape[-1] != out:
        shortcut = _convolution(x, out, f"{name}.downsample.0", seeds, kernel_size=1, strides=strides)
        shortcut = _normalised(shortcut, f"{name}.downsample.1")
    for number, (kernel_size, filters, step) in enumerate(plan, start=1):
        x = _convolution(x, filters, f"{name}.conv{number}", seeds, kernel_size=kernel_size, strides=step)
        x = _normalised(x, f"{name}.bn{number}")
        if number < len(plan):
            x = layers.ReLU(name=f"{name}.relu{number}")(x)
    x = layers.Add(name=f"{name}.add")([x, shortcut])
    return layers.ReLU(name=f"{name}.relu")(x)


def resnet_outputs(inputs, *, depth: int = 18, width: int = WIDTH, seed: int = 0) -> list:
    """Applies the network to `inputs` (batch, height, width, channel).

    Returns:
        The maps of the four stages at 1/4, 1/8, 1/16 and 1/32 of the sides (rounded up), and h (batch, 8 width) or, for
        depth 50, (batch, 32 width).

    Raises:
        ValueError: An unknown depth, a width below 1.
    """
    if depth not in BLOCKS or width < 1:
        raise ValueError(
            f"`depth` must be one of {', '.join(map(str, BLOCKS))}, `width` at least 1. "
            f"Received: depth={depth}, width={width}"
        )
    seeds = LayerSeeds(seed)
    x = _convolution(inputs, width, "conv1", seeds, kernel_size=7, strides=2)
    x = layers.ReLU(name="relu")(_normalised(x, "bn1"))
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)  # zeros are no maximum after ReLU
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    outputs = []
    for stage, count in enumerate(BLOCKS[depth]):
        for index in range(count):
            strides = 2 if stage and not index else 1
            x = _block(x, width << stage, f"layer{stage + 1}.{index}", seeds, depth=depth, strides=strides)
        outputs.append(x)
    return [*outputs, layers.GlobalAveragePooling2D(name=EMBEDDING)(x)]


def projection_head(h, *, projection_size: int = PROJECTION_SIZE, seed: int = 0):
    """Applies dense, ReLU, dense without biases: h (batch, d) -> d -> (batch, projection_size)."""
    seeds = LayerSeeds(seed)
    for name, units, activation in (("proj_nn1", h.shape[-1], "relu"), ("proj_pred", projection_size, None)):
        h = layers.Dense(units, activation, use_bias=False, kernel_initializer=he_normal(seeds(name)), name=name)(h)
    return h


def build_group_encoder(
    image_shape: tuple[int, int, int],
    *,
    depth: int = 18,
    width: int = WIDTH,
    projection_size: int = PROJECTION_SIZE,
    seed: int = 0,
) -> keras.Model:
    """Builds the encoder with its projection head: image -> (batch, projection_size), not normalised.

    Args:
        image_shape: (height, width, channels), any sides.
        depth: 18 or 50.
        width: Channels of the first stage; 64 is the network of the paper.
        projection_size: Of the embeddings that the loss compares.
        seed: Of the initial weights.

    See `embedding_part` for the network that is used afterwards.
    """
    inputs = keras.Input(image_shape, name="image")
    h = resnet_outputs(inputs, depth=depth, width=width, seed=seed)[-1]
    outputs = projection_head(h, projection_size=projection_size, seed=seed)
    return keras.Model(inputs, outputs, name=f"resnet{depth}_projection")


def embedding_part(model: keras.Model) -> keras.Model:
    """Returns the network image -> h of a `build_group_encoder` model, with the same weights."""
    return keras.Model(model.inputs[0], model.get_layer(EMBEDDING).output, name=f"{model.name}_embedding")
