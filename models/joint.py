"""The network of joint training: the U-Net with a second head that embeds every pixel.

Reference: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645.
"""

from __future__ import annotations

import keras
from keras import ops

from models.unet import Architecture, LayerSeeds, build_unet, check_at_least_one, conv_block, convolution

LOGITS, EMBEDDINGS = "logits", "embeddings"


@keras.saving.register_keras_serializable("fewslice")
class Rows(keras.layers.Layer):
    """Passes on a part of the rows of the batch.

    Args:
        start: First row that is passed on.
        stop: The row before which to stop; by default none, all further rows are passed on.

    Input: (batch, ...). Output: (stop - start, ...).

    Raises:
        ValueError: No row to pass on, where the size of the batch is known.
    """

    def __init__(self, start: int = 0, stop: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.start, self.stop = int(start), None if stop is None else int(stop)

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[1:])

    def call(self, inputs):
        rows = inputs.shape[0]
        least = self.start + 1 if self.stop is None else self.stop
        if rows is not None and rows < least:
            raise ValueError(f"A batch must have {least} rows or more for {self.name!r}. Received: {rows}")
        # Not inputs[start:stop], whose gradient is 40 times as slow on a CPU (benchmarks/README.md).
        last = ops.shape(inputs)[0] if self.stop is None else self.stop
        begin = (self.start, *[0] * (len(inputs.shape) - 1))
        return ops.slice(inputs, begin, (last - self.start, *inputs.shape[1:]))

    def get_config(self):
        return {**super().get_config(), "start": self.start, "stop": self.stop}


def build_joint_net(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    num_labelled: int = 20,
    seed: int = 0,
    arch: Architecture | None = None,
) -> keras.Model:
    """Builds the U-Net of `build_unet` with a contrast head beside the segmentation head.

    A batch is [num_labelled labelled images | images for the contrastive loss]. Encoder, decoder and the two normalised
    convolutions of the segmentation head see all its rows; only the labelled ones get logits, and only the others
    embeddings, so that the statistics of the contrast head are those of its rows. To predict, take `segmentation_part`
    or `both_heads`.

    Args:
        image_shape, num_classes, arch: As for `models.build_unet`.
        num_labelled: Labelled rows at the head of a training batch (`mtask_bs`).
        seed: Of the initial weights; layers that `build_unet` has too start with the same values.

    Returns:
        Model image (batch, height, width, channels) -> {"logits": (num_labelled, height, width, num_classes),
        "embeddings": (batch - num_labelled, height, width, 16)} in the policy's compute dtype. Losses and targets are
        dictionaries with these two keys.

    Raises:
        ValueError: `num_labelled` below 1, or sides that are no multiples of 32.

    Notes:
        The published code ran a second forward pass in training mode before each step, which moved the statistics
        twice; here they move once.

    Example:
        >>> joint = build_joint_net((64, 64, 1), 4, num_labelled=2)
        >>> {name: output.shape for name, output in joint.output.items()}
        {'logits': (None, 64, 64, 4), 'embeddings': (None, 64, 64, 16)}
    """
    check_at_least_one(num_labelled=num_labelled)
    unet = build_unet(image_shape, num_classes, seed=seed, arch=arch)
    features = Rows(0, num_labelled, name="seg_rows")(unet.get_layer("seg_c1_b_relu").output)
    x = Rows(num_labelled, name="cont_rows")(unet.get_layer("dec_c1_a_relu").output)  # head h_phi
    how = {"kernel_size": 1, "bias": False, "normalisation": (arch or Architecture()).normalisation}
    x = conv_block(x, x.shape[-1], "cont_c1_a", LayerSeeds(seed), **how)
    x = convolution(x, x.shape[-1], "cont_c1_b", LayerSeeds(seed), kernel_size=1)
    return keras.Model(unet.input, {LOGITS: unet.get_layer("seg_fin_layer")(features), EMBEDDINGS: x}, name="joint")


def _logits(joint: keras.Model):
    return joint.get_layer("seg_fin_layer")(joint.get_layer("seg_c1_b_relu").output)


def segmentation_part(joint: keras.Model) -> keras.Model:
    """Returns image -> logits of all rows with the weights of `joint`, shared, for validation and prediction.

    Its layers have the names of `build_unet`, so that weights move between them by name.

    Args:
        joint: From `build_joint_net`.
    """
    return keras.Model(joint.input, _logits(joint), name="unet")


def both_heads(joint: keras.Model) -> keras.Model:
    """Returns image -> {"logits", "embeddings"}, each of all rows, with the weights of `joint`, shared.

    Args:
        joint: From `build_joint_net`.
    """
    x = joint.get_layer("dec_c1_a_relu").output
    for name in ("cont_c1_a", "cont_c1_a_bn", "cont_c1_a_relu", "cont_c1_b"):
        x = joint.get_layer(name)(x)
    return keras.Model(joint.input, {LOGITS: _logits(joint), EMBEDDINGS: x}, name="joint_inference")
