"""The method of the paper: pixel embeddings on pseudo-labelled slices beside segmentation on labelled ones.

Reference: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import losses
from fewslice.augment.pretraining import augmented_view
from fewslice.augment.segmentation import SegmentationAugmentation, augment_segmentation_batch
from fewslice.data.batches import contrastive, generator, joint
from fewslice.stages.joint.job import Job
from fewslice.stages.joint.pools import Pools
from fewslice.stages.segmentation import Prepared, augmentation_of
from fewslice.train import evaluation, setup
from models.joint import EMBEDDINGS, LOGITS, build_joint_net, segmentation_part


def prepare(job: Job) -> Prepared:
    """Returns the U-Net with its contrast head, and the plan that renews pseudo-labels."""
    args, dataset = job.args, job.dataset

    def make() -> keras.Model:
        how = {"num_labelled": dataset.mtask_bs, "seed": args.seed, "arch": setup.architecture(vars(args))}
        model = build_joint_net(setup.image_shape(dataset), dataset.num_classes, **how)
        job.start_weights(model, heads=(job.origin, job.teacher) if args.copy_head else ())
        return model

    contrast = losses.PixelContrastive(
        args.local_loss_exp_no,
        dataset.num_classes,
        n_pos=args.no_of_pos_eles,
        temperature=args.temp_fac,
        normalisation=args.cont_normalisation,
    )
    terms = {LOGITS: losses.segmentation_loss(args.dsc_loss, dataset.class_weights), EMBEDDINGS: contrast}
    model = setup.build(args, make, terms, args.lr_seg, loss_weights={LOGITS: 1.0, EMBEDDINGS: args.lamda_local})
    network = segmentation_part(model)
    pools = Pools(job)
    augmentation = augmentation_of(args)
    # How many classes a slice of the segmentation loss must show: 3, or 2 of up to three, if slices do.
    least = min(3 if dataset.num_classes > 3 else 2, int(pools.labelled.present.sum(axis=1).max()))

    def draw(step: int) -> tuple[np.random.Generator, joint.JointBatch]:
        rng = generator(args.seed, step // dataset.val_step_update, step)
        plan = joint.JointPlan(
            bt_size=args.bt_size,
            exp_no=args.local_loss_exp_no,
            num_labelled=dataset.mtask_bs,
            n_pos=args.no_of_pos_eles,
            min_classes=pools.min_classes,
            min_classes_seg=least,
        )
        return rng, joint.draw_joint_batch(rng, pools.labelled, pools.unlabelled, plan=plan)

    def describe(step: int) -> list[dict[str, Any]]:
        _, drawn = draw(step)
        return [
            *setup.describe_slices(pools.labelled_volumes, drawn.segmentation, part="segmentation"),
            *setup.describe_slices(pools.labelled_volumes, drawn.labelled, part="contrast, labelled"),
            *setup.describe_slices(pools.unlabelled_volumes, drawn.unlabelled, part="contrast, unlabelled"),
        ]

    plan = setup.plan(
        args,
        dataset,
        make_batch=lambda step: assemble(*draw(step), pools, augmentation=augmentation),
        describe_batch=describe,
        validate=evaluation.validation_of(dataset, network, job.volumes.val),
        before_segment=pools.update,
        writes_last=args.refresh_from == "last",
    )
    return Prepared(model, network, plan)


def assemble(
    rng: np.random.Generator, drawn: joint.JointBatch, pools: Pools, *, augmentation: SegmentationAugmentation
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Makes the images and targets of a step.

    Labelled slices are deformed and changed in intensity as in the other labelled stages. Those of the contrastive
    loss change in intensity only, so that their labels stay right: one draw for all first images of the pairs, one for
    all second images.

    Returns:
        (m + 2B, H, W, 1) float32: labelled slices, first images, second images. Targets: "logits" (m, H, W, K)
        float32 and "embeddings", see `losses.pixel_contrastive.pixel_targets`.
    """
    images = contrastive.gather_slices(pools.labelled_volumes, drawn.segmentation)
    labels = pools.labelled.gather(drawn.segmentation)
    images, onehot = augment_segmentation_batch(rng, images, labels, pools.labelled.num_classes, settings=augmentation)
    slices = np.concatenate(
        [
            contrastive.gather_slices(pools.labelled_volumes, drawn.labelled),
            contrastive.gather_slices(pools.unlabelled_volumes, drawn.unlabelled),
        ]
    )[drawn.pairs]
    views = [augmented_view(rng, half) for half in np.split(slices, 2)]
    packed = losses.pixel_targets(drawn.labels, drawn.positions, drawn.valid, confidence=drawn.confidence)
    targets = {LOGITS: onehot, EMBEDDINGS: packed}
    return np.concatenate([images, *views]), targets
