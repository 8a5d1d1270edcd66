"""The training step of each stage, ours and plain, on one fixed batch of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import losses
import models
from benchmarks import joint, plain
from fewslice.train.setup import optimizer
from models.joint import EMBEDDINGS, LOGITS

STAGES = ("encoder", "decoder", "unet")  # and "joint", whose network has two outputs
LOSS_WEIGHTS = {LOGITS: 1.0, EMBEDDINGS: 0.1}
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a benchmark; the defaults are the published ones (24, 20, 20 and 40 rows of 192 x 192).

    Attributes:
        side: Of the images in pixels.
        slots: Volumes in the encoder's batch, each with 4 partitions and 2 views.
        images: Images in the decoder's batch, each with 2 views.
        slices: Slices in the U-Net's batch, and labelled ones in that of joint training.
        pairs: Pairs of slices for the pixel contrastive loss of joint training.
        n_pos: Pixels per class and slice that it compares.
        num_blocks: Decoder blocks of the local stage.
        num_classes: Of the segmentation.
    """

    side: int = 192
    slots: int = 3
    images: int = 10
    slices: int = 20
    pairs: int = 10
    n_pos: int = 3
    num_blocks: int = 3
    num_classes: int = 4

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.side, self.side, 1


def batch(stage: str, sizes: Sizes, kind: str = "float32") -> tuple[np.ndarray, Any]:
    """Returns inputs and targets: structure ids of the contrastive stages, one-hot labels of the U-Net.

    Those of joint training are a dictionary, and others for the plain loss (`kind` "plain") than for ours.
    """
    if stage == "joint":
        return joint.fixed_batch(sizes, is_plain=kind == "plain")
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
    if stage == "joint":
        return models.build_joint_net(sizes.image_shape, sizes.num_classes, num_labelled=sizes.slices)
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


def our_loss(stage: str, sizes: Sizes) -> Any:
    """Returns our loss of a stage, or the two of joint training by output."""
    if stage == "joint":
        contrast = losses.PixelContrastive(joint.EXP_NO, sizes.num_classes, n_pos=sizes.n_pos)
        return {LOGITS: losses.segmentation_loss(2), EMBEDDINGS: contrast}
    if stage == "encoder":
        return losses.GlobalContrastive(2)
    return losses.segmentation_loss(2) if stage == "unet" else losses.LocalContrastive(0, regions(sizes))


def plain_network(stage: str, sizes: Sizes) -> keras.Model:
    """Builds the plain network of a stage."""
    if stage == "encoder":
        return plain.global_net(sizes.image_shape)
    if stage == "unet":
        return plain.unet(sizes.image_shape, sizes.num_classes)
    if stage == "joint":
        return plain.joint_net(sizes.image_shape, sizes.num_classes, sizes.slices)
    return plain.local_net(sizes.image_shape, sizes.num_blocks, regions(sizes).positions)


def plain_loss(stage: str, sizes: Sizes) -> Any:
    """Returns the plain loss of a stage, or the two of joint training by output."""
    if stage == "joint":
        return {LOGITS: plain.DiceLoop(), EMBEDDINGS: joint.PackedPixelLoop(sizes)}
    if stage == "encoder":
        return plain.GlobalLoop(losses.row_layout(2, sizes.slots))
    if stage == "unet":
        return plain.DiceLoop()
    negatives = [np.flatnonzero(row).tolist() for row in regions(sizes).negative_mask]
    return plain.LocalLoop(negatives, sizes.images)


def compiled(stage: str, kind: str, sizes: Sizes) -> keras.Model:
    """Returns a network ready to train; `kind` is "plain", "float32" or "bfloat16"."""
    keras.utils.set_random_seed(0)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(PRECISIONS.get(kind, "float32"))
    try:
        if kind == "plain":
            model, loss = plain_network(stage, sizes), plain_loss(stage, sizes)
        else:
            model, loss = our_network(stage, sizes), our_loss(stage, sizes)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    weights = LOSS_WEIGHTS if stage == "joint" else None
    model.compile(optimizer(1e-3), loss=loss, loss_weights=weights, jit_compile=False)
    return model


def arithmetic(stage: str, model: keras.Model, sizes: Sizes) -> float:
    """Returns the floating-point operations of one training step's convolutions and dense layers.

    Forward, gradient of the input (not of the image) and of the kernel cost the same. A frozen encoder is not accounted
    for.
    """
    of_some = {"seg_fin_layer": sizes.slices, "cont_c1_a": 2 * sizes.pairs, "cont_c1_b": 2 * sizes.pairs}
    all_rows = len(batch(stage, sizes)[0])
    total = 0
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        if isinstance(layer, models.layers.UpsampledConv2D):
            places = np.prod(layer.input.shape[1:3]) * 9 / 4  # 3x3 taps at each pixel of the small image
        else:
            places = np.prod(layer.output.shape[1:-1])
        rows = of_some.get(layer.name, all_rows)
        passes = 2 if layer.input is model.input else 3
        total += 2 * passes * rows * places * np.prod(layer.kernel.shape)
    return float(total)


def step(stage: str, kind: str, sizes: Sizes) -> Callable[[], Any]:
    """Returns a function that trains one step on a fixed batch."""
    import tensorflow as tf

    model = compiled(stage, kind, sizes)
    inputs, targets = keras.tree.map_structure(tf.constant, batch(stage, sizes, kind))
    return lambda: model.train_on_batch(inputs, targets)
