"""The training step of each stage, ours and plain, on one fixed batch of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import losses
import models
from benchmarks import plain
from fewslice.stages.common import optimizer

STAGES = ("encoder", "decoder", "unet")
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclass(frozen=True)
class Sizes:
    """How large a benchmark is; the defaults are the published ones (24, 20 and 20 rows of 192 x 192).

    Attributes:
        side: Of the images in pixels.
        slots: Volumes in the encoder's batch, each with 4 partitions and 2 views.
        images: Images in the decoder's batch, each with 2 views.
        slices: Slices in the U-Net's batch.
        num_blocks: Decoder blocks of the local stage.
        num_classes: Of the segmentation.
    """

    side: int = 192
    slots: int = 3
    images: int = 10
    slices: int = 20
    num_blocks: int = 3
    num_classes: int = 4

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.side, self.side, 1


def batch(stage: str, sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs and targets: structure ids of the contrastive stages, one-hot labels of the U-Net."""
    rng = np.random.default_rng(0)
    if stage == "encoder":
        targets = losses.row_layout(2, sizes.slots).astype(np.float32)
    elif stage == "decoder":
        targets = losses.local_row_layout(0, sizes.images).astype(np.float32)
    else:
        labels = rng.integers(sizes.num_classes, size=(sizes.slices, sizes.side, sizes.side))
        targets = np.eye(sizes.num_classes, dtype=np.float32)[labels]
    return rng.standard_normal((len(targets), *sizes.image_shape), dtype=np.float32), targets


def regions(sizes: Sizes) -> losses.RegionTable:
    """Returns the 13 regions of 3x3 pixels with 5 negatives each."""
    size = models.local_map_size(sizes.image_shape, sizes.num_blocks)
    return losses.region_table(size, 13, local_reg_size=1, no_of_neg_local_regions=5)


def our_network(stage: str, sizes: Sizes) -> keras.Model:
    """Builds our network of a stage, in the precision of the policy that is set."""
    if stage == "encoder":
        return models.build_global_net(sizes.image_shape)
    if stage == "unet":
        return models.build_unet(sizes.image_shape, sizes.num_classes)
    table = regions(sizes)
    model = models.build_local_net(
        sizes.image_shape,
        sizes.num_blocks,
        positions=table.positions,
        region_size=table.region_size,
        use_projection=True,
    )
    models.freeze(model, "enc_")
    return model


def our_loss(stage: str, sizes: Sizes) -> keras.losses.Loss:
    """Returns our loss of a stage."""
    if stage == "encoder":
        return losses.GlobalContrastive(2)
    return losses.segmentation_loss(2) if stage == "unet" else losses.LocalContrastive(0, regions(sizes))


def plain_network(stage: str, sizes: Sizes) -> keras.Model:
    """Builds the plain network of a stage."""
    if stage == "encoder":
        return plain.global_net(sizes.image_shape)
    if stage == "unet":
        return plain.unet(sizes.image_shape, sizes.num_classes)
    return plain.local_net(sizes.image_shape, sizes.num_blocks, regions(sizes).positions)


def plain_loss(stage: str, sizes: Sizes) -> keras.losses.Loss:
    """Returns the plain loss of a stage."""
    if stage == "encoder":
        return plain.GlobalLoop(losses.row_layout(2, sizes.slots))
    if stage == "unet":
        return plain.DiceLoop()
    negatives = [np.flatnonzero(row).tolist() for row in regions(sizes).negative_mask]
    return plain.LocalLoop(negatives, sizes.images)


def compiled(stage: str, kind: str, sizes: Sizes) -> keras.Model:
    """Returns a network ready to train; `kind` is "plain", "float32" or "bfloat16"."""
    keras.utils.set_random_seed(0)
    former = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(PRECISIONS.get(kind, "float32"))
    try:
        if kind == "plain":
            model, loss = plain_network(stage, sizes), plain_loss(stage, sizes)
        else:
            model, loss = our_network(stage, sizes), our_loss(stage, sizes)
    finally:
        keras.mixed_precision.set_dtype_policy(former)
    model.compile(optimizer(1e-3), loss=loss, jit_compile=False)
    return model


def arithmetic(model: keras.Model, rows: int) -> float:
    """Returns the floating-point operations of one training step's convolutions and dense layers.

    Forward, gradient of the input (not of the image) and of the kernel cost the same. A frozen encoder is not accounted
    for.
    """
    total = 0
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        if isinstance(layer, models.layers.UpsampledConv2D):
            places = np.prod(layer.input.shape[1:3]) * 9 / 4  # 3x3 taps at each pixel of the small image
        else:
            places = np.prod(layer.output.shape[1:-1])
        passes = 2 if layer.input is model.input else 3
        total += 2 * passes * rows * places * np.prod(layer.kernel.shape)
    return float(total)


def step(stage: str, kind: str, sizes: Sizes) -> Callable[[], Any]:
    """Returns a function that trains one step on a fixed batch."""
    import tensorflow as tf

    model = compiled(stage, kind, sizes)
    inputs, targets = (tf.constant(array) for array in batch(stage, sizes))
    return lambda: model.train_on_batch(inputs, targets)
