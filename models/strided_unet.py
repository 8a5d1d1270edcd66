"""A U-Net for images of any size: strided convolutions in place of pooling, dropout after every block.

Six levels; a block is twice convolution, batch normalisation (`models.layers.PYTORCH`), ReLU, then dropout. A level's
first convolution has stride 2. A decoder's step: a block without dropout, nearest-neighbour enlargement to the exact
size of the encoder's map, [enlarged, map], a block.

Layers are called "enc0.conv1" ... "enc5.dropout", "dec4.low.conv1" ... "dec0.dropout", "out"; a number is that of the
level, 0 the finest.

Reference: Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597. For histology, and for MC dropout in active
learning: https://github.com/jeromerony/survey_wsl_histology,
https://github.com/vrocheleau/active-learning-segmentation-baselines.
"""

from __future__ import annotations

import keras
from keras import layers

from models.layers import PYTORCH, BatchNormalization, DoubledLike
from models.unet import LayerSeeds, he_normal

LEVELS = 6


def build_strided_unet(
    input_shape: tuple[int | None, int | None, int],
    num_classes: int,
    *,
    width: int = 16,
    dropout: float = 0.1,
    seed: int = 0,
) -> keras.Model:
    """Builds the segmentation network.

    Args:
        input_shape: (height, width, channels); None for sides that vary.
        num_classes: Classes including background.
        width: Channels of the finest level; each further one has twice as many.
        dropout: Share of the values that are dropped in training, in eleven places.
        seed: Of the initial weights and of the dropout.

    Returns:
        Model image (batch, height, width, channels) -> logits (batch, height, width, num_classes) in the policy's
        compute dtype. 14 154 706 weights for 3 channels and 2 classes.

    Example:
        >>> network = build_strided_unet((None, None, 3), 2)
        >>> tuple(network(np.zeros((1, 33, 50, 3))).shape)
        (1, 33, 50, 2)
    """
    seeds = LayerSeeds(seed)

    def block(x, filters: int, name: str, *, stride: int = 1, drops: bool = True):
        for number, step in ((1, stride), (2, 1)):
            conv = f"{name}.conv{number}"
            if step > 1:  # zeros on both sides, whereas "same" begins with a pixel of the image
                x = layers.ZeroPadding2D(1, name=f"{name}.pad")(x)
            how = {"padding": "valid" if step > 1 else "same", "use_bias": False, "name": conv}
            x = layers.Conv2D(filters, 3, step, kernel_initializer=he_normal(seeds(conv)), **how)(x)
            x = BatchNormalization(use_bias=False, name=f"{name}.bn{number}", **PYTORCH)(x)
            x = layers.ReLU(name=f"{name}.relu{number}")(x)
        if drops:
            x = layers.Dropout(dropout, seed=seeds(f"{name}.dropout"), name=f"{name}.dropout")(x)
        return x

    inputs = keras.Input(input_shape, name="image")
    maps = [block(inputs, width, "enc0")]
    for level in range(1, LEVELS):
        maps.append(block(maps[-1], width << level, f"enc{level}", stride=2))
    x = maps.pop()
    for level, skip in reversed(list(enumerate(maps))):
        x = block(x, x.shape[-1], f"dec{level}.low", drops=False)
        x = DoubledLike(name=f"dec{level}.enlarge")([x, skip])
        x = block(layers.Concatenate(name=f"dec{level}.cat")([x, skip]), width << level, f"dec{level}")
    logits = layers.Conv2D(num_classes, 1, padding="same", kernel_initializer=he_normal(seeds("out")), name="out")(x)
    return keras.Model(inputs, logits, name="strided_unet")
