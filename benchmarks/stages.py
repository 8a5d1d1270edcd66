"""The stages of training as the benchmarks run them: network, loss, optimiser and the function step -> batch.

Data are six volumes of ten smooth slices with nested structures. Batches are those of the stages' own input pipelines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from scipy import ndimage

import losses
import models
from fewslice.active.labels import Labels, Revealed, join
from fewslice.active.pool import make_pool
from fewslice.active.units import Case
from fewslice.augment.rot_flip import rot_flip
from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.core import backend
from fewslice.data.batches import contrastive, generator, group, joint
from fewslice.learner.samplers import SliceBatches
from fewslice.stages.joint.contrastive import assemble
from fewslice.train.optimizers import CoupledAdam, CoupledSGD, polynomial_decay
from fewslice.train.setup import optimizer
from models.joint import EMBEDDINGS, LOGITS
from tests.reference import plain_networks as plain

CLASSES, N_POS, IGNORE = 4, 3, 255
ROWS = {"encoder": 24, "decoder": 20, "group": 36, "unet": 20, "joint": 20, "scribble": 6, "dmpls": 6, "strided": 16}
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

Batches = Callable[[int], tuple[np.ndarray, Any]]


@dataclass(frozen=True)
class Stage:
    """A stage at one size; `rows` are those of a batch (of joint training: the labelled ones, as many again follow).

    Attributes:
        network, loss: Make ours.
        batches: Step -> images and targets.
        plain: The same network and loss, written plainly, if `tests.reference.plain_networks` has them.
        optimizer: Makes the optimiser.
        loss_weights: By output.
    """

    network: Callable[[], keras.Model]
    loss: Callable[[], Any]
    batches: Batches
    plain: tuple[Callable[[], keras.Model], Callable[[], Any]] | None = None
    optimizer: Callable[[], keras.optimizers.Optimizer] = lambda: optimizer(1e-3)
    loss_weights: dict[str, float] | None = None

    def compiled(self, kind: str) -> keras.Model:
        """Returns a network ready to train; `kind` is "plain", "float32" or "bfloat16"."""
        keras.utils.set_random_seed(0)
        network, loss = self.plain if kind == "plain" else (self.network, self.loss)
        with backend.precision(POLICIES.get(kind, "float32")):
            model = network()
            model.compile(self.optimizer(), loss=loss(), loss_weights=self.loss_weights, jit_compile=False)
        return model

    def step(self, kind: str) -> Callable[[], Any]:
        """Returns a function that trains one step on a fixed batch."""
        import tensorflow as tf

        model = self.compiled(kind)
        inputs, targets = keras.tree.map_structure(tf.constant, self.batches(0))
        return lambda: model.train_on_batch(inputs, targets)


def volumes(side: int) -> list[SimpleNamespace]:
    """Returns six volumes, image (10, side, side) float32 and label uint8; every class is in every slice."""
    rng = np.random.default_rng(0)
    distance = np.hypot(*(np.indices((side, side)) - side / 2))
    label = np.stack([np.digitize(-distance, [-side / 4, -side / 6, -side / 8]).astype(np.uint8)] * 10)
    noise = rng.standard_normal((6, *label.shape), dtype=np.float32)
    images = 0.2 * label + 0.5 + ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    return [SimpleNamespace(image=image, label=label) for image in images]


def stage(name: str, side: int, rows: int = 0) -> Stage:
    """Returns a stage.

    Args:
        name: A key of `ROWS`.
        side: Of the slices in pixels.
        rows: Rows of a batch; 0 takes the published number.

    Raises:
        KeyError: another name.
    """
    rows, shape, data = rows or ROWS[name], (side, side, 1), volumes(side)
    makers = {"encoder": _encoder, "decoder": _decoder, "group": _group, "unet": _unet, "joint": _joint}
    makers["strided"] = _strided
    if name in makers:
        return makers[name](shape, rows, data)
    return _scribble(shape, rows, data, branches=2 if name == "dmpls" else 1)


def _encoder(shape: tuple[int, int, int], rows: int, data: list[Any]) -> Stage:
    plan = contrastive.plan_global_batch(2, rows // 4, n_parts=4)

    def batches(step: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = contrastive.contrastive_batch(generator(0, 0, step), data, plan, box=100)
        return drawn.images, drawn.ids.astype(np.float32)

    return Stage(
        lambda: models.build_global_net(shape),
        lambda: losses.GlobalContrastive(2),
        batches,
        (lambda: plain.global_net(shape), lambda: plain.GlobalLoop(batches(0)[1].astype(int))),
    )


def _decoder(shape: tuple[int, int, int], rows: int, data: list[Any]) -> Stage:
    """Three blocks, 13 regions of 3x3 pixels with 5 negatives each, frozen encoder."""
    table = losses.region_table(models.local_map_size(shape, 3), 13, local_reg_size=1, no_of_neg_local_regions=5)
    regions = {"positions": table.positions, "region_size": table.region_size}

    def network() -> keras.Model:
        model = models.build_local_net(shape, 3, **regions, use_projection=True)
        models.freeze(model, "enc_")
        return model

    plan = contrastive.plan_local_batch(0, rows // 2, n_parts=1)

    def batches(step: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = contrastive.contrastive_batch(generator(0, 0, step), data, plan)
        return drawn.images, drawn.ids.astype(np.float32)

    negatives = [np.flatnonzero(row).tolist() for row in table.negative_mask]
    plainly = (lambda: plain.local_net(shape, 3, table.positions), lambda: plain.LocalLoop(negatives, rows // 2))
    return Stage(network, lambda: losses.LocalContrastive(0, table), batches, plainly)


def _group(shape: tuple[int, int, int], rows: int, data: list[Any]) -> Stage:
    plan = group.GroupPlan(rows // 2, use_slice_pos=True, use_phase=True)
    sampler = group.GroupSampler(group.SliceHierarchy([len(volume.image) for volume in data]), plan, seed=0)

    def batches(step: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = group.group_batch(generator(0, 0, step), data, sampler.at_step(step)[1], plan)
        return drawn.images, drawn.ids.astype(np.float32)

    return Stage(
        lambda: models.build_group_encoder(shape),
        lambda: losses.GroupContrastive(0.1, loss_wt=1.0, neg_loss_wt=1.0, pos_loss_wts=(1.0,), pos_loss_masks=((),)),
        batches,
        optimizer=lambda: CoupledAdam(1e-3, l2=1e-4),
    )


def _unet(shape: tuple[int, int, int], rows: int, data: list[Any]) -> Stage:
    augmentation = SegmentationAugmentation()

    def batches(step: int) -> tuple[np.ndarray, np.ndarray]:
        options = {"batch_size": rows, "num_classes": CLASSES, "augmentation": augmentation}
        drawn = contrastive.segmentation_batch(generator(0, 0, step), data, **options)
        return drawn.images, drawn.labels

    return Stage(
        lambda: models.build_unet(shape, CLASSES),
        lambda: losses.segmentation_loss(2),
        batches,
        (lambda: plain.unet(shape, CLASSES), plain.DiceLoop),
    )


def _joint(shape: tuple[int, int, int], rows: int, data: list[Any]) -> Stage:
    """Inter-image, as published; Dice + 0.1 * pixel contrastive loss."""
    pool, augmentation = joint.LabelPool([volume.label for volume in data], CLASSES), SegmentationAugmentation()
    pools = SimpleNamespace(labelled=pool, unlabelled=pool, labelled_volumes=data, unlabelled_volumes=data)
    plan = joint.JointPlan(bt_size=rows // 2, exp_no=1, num_labelled=rows, n_pos=N_POS, min_classes_seg=3)

    def batches(step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = generator(0, 0, step)
        return assemble(rng, joint.draw_joint_batch(rng, pool, pool, plan=plan), pools, augmentation=augmentation)

    contrast = losses.PixelContrastive(1, CLASSES, n_pos=N_POS)
    return Stage(
        lambda: models.build_joint_net(shape, CLASSES, num_labelled=rows),
        lambda: {LOGITS: losses.segmentation_loss(2), EMBEDDINGS: contrast},
        batches,
        loss_weights={LOGITS: 1.0, EMBEDDINGS: 0.1},
    )


def _strided(shape: tuple[int, int, int], rows: int, data: list[Any]) -> Stage:
    """Colour images of random numbers, two classes; SGD."""
    rng = np.random.default_rng(0)
    images = rng.random((rows, *shape[:2], 3), np.float32)
    hot = np.eye(2, dtype=np.float32)[rng.integers(2, size=images.shape[:3])]
    return Stage(
        lambda: models.build_strided_unet((*shape[:2], 3), 2),
        lambda: losses.Dice(pooled=True),
        lambda step: (images, hot),
        (lambda: plain.strided_unet((*shape[:2], 3), 2), plain.PooledDice),
        optimizer=lambda: CoupledSGD(0.1, nesterov=True),
    )


def _scribble(shape: tuple[int, int, int], rows: int, data: list[Any], *, branches: int) -> Stage:
    """1 % of the pixels are scribbled."""
    scribbles = [np.where(np.random.default_rng(0).random(v.label.shape) < 0.01, v.label, IGNORE) for v in data]
    pool = make_pool([Case(str(place), str(place), volume.label.shape) for place, volume in enumerate(data)])
    units = np.arange(len(pool))
    revealed = Revealed(0, units, tuple(map(pool.box, units)), join(scribbles))
    how = {"targets": losses.mixing_targets} if branches == 2 else {}
    slices = SliceBatches(
        Labels(pool, IGNORE).extended(revealed),
        [volume.image[..., np.newaxis] for volume in data],
        seed=0,
        batch_size=rows,
        augmentation=rot_flip,
        **how,
    )
    return Stage(
        lambda: models.build_scribble_unet(shape, CLASSES, branches=branches),
        lambda: losses.DynamicPseudoLabel(IGNORE) if branches == 2 else losses.PartialCrossEntropy(IGNORE),
        slices.batch,
        optimizer=lambda: CoupledSGD(polynomial_decay(0.01, 60000), l2=1e-4, momentum=0.9),
    )
