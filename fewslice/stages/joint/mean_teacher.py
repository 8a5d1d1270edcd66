"""Joint training with a mean teacher, which makes the targets of unlabelled slices within a step.

UniMatch: predictions on strongly augmented slices agree with those on weakly augmented ones (Yang et al., 2023,
https://arxiv.org/abs/2208.09910). Copy-paste: labelled and unlabelled slices are pasted into each other (Bai et al.,
2023, https://arxiv.org/abs/2305.00673).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

import losses
import models
from fewslice.data.batches import generator
from fewslice.data.batches.mean_teacher import TaughtBatch, UnlabelledRows, copy_paste_rows, taught_batch, unimatch_rows
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages import segmentation
from fewslice.stages.joint.job import Job
from fewslice.stages.segmentation import Prepared
from fewslice.train import evaluation, setup
from fewslice.train.trainer import Plan
from models.joint import LOGITS
from models.teacher import CONSISTENCY


def unimatch(job: Job) -> Prepared:
    """Returns the network of UniMatch and its plan."""
    args = job.args
    build = functools.partial(models.build_unimatch_net, feature_dropout=args.feature_dropout)
    loss = losses.WeakToStrong(args.confidence, soft=bool(args.soft_labels), drops_features=args.feature_dropout > 0)
    return prepare(job, build, loss, unimatch_rows)


def copy_paste(job: Job) -> Prepared:
    """Returns the network of bidirectional copy-paste and its plan."""
    args = job.args
    loss = losses.CopyPaste(soft=bool(args.soft_labels), largest_component=bool(args.largest_component))
    return prepare(job, models.build_copy_paste_net, loss, copy_paste_rows)


def prepare(
    job: Job,
    build: Callable[..., tuple[keras.Model, keras.Model]],
    consistency: keras.losses.Loss,
    make: UnlabelledRows,
) -> Prepared:
    """Returns the compiled network of a method and its plan.

    Args:
        job: The run.
        build: `models.build_unimatch_net` or `build_copy_paste_net`: returns the network and the U-Net in it.
        consistency: The loss of its unlabelled rows.
        make: See `plan`.
    """
    args, dataset = job.args, job.dataset
    counts = dataset.mtask_bs, args.unlabelled_bs or dataset.mtask_bs
    unet = None

    def start() -> keras.Model:
        nonlocal unet
        model, unet = build(
            setup.image_shape(dataset),
            dataset.num_classes,
            num_labelled=counts[0],
            num_unlabelled=counts[1],
            teacher_decay=args.teacher_decay,
            seed=args.seed,
            arch=setup.architecture(vars(args)),
        )
        job.start_weights(model, heads=(job.origin,))
        models.start_teacher(model, warm_up=job.origin.path is None)
        return model

    terms = {LOGITS: losses.segmentation_loss(args.dsc_loss, dataset.class_weights), CONSISTENCY: consistency}
    weights = {LOGITS: 1.0, CONSISTENCY: args.consistency_weight}
    model = setup.build(args, start, terms, args.lr_seg, loss_weights=weights)
    return Prepared(model, unet, plan(job, unet, make, counts))


def plan(job: Job, network: keras.Model, make: UnlabelledRows, counts: tuple[int, int]) -> Plan:
    """Returns the plan of a method.

    Args:
        network: Image -> logits, what is validated.
        counts: Labelled and unlabelled slices of a step.
    """
    args, dataset = job.args, job.dataset
    labelled = list(job.volumes.train)
    others = list(job.volumes.unlabeled)
    if not args.published_lists:  # else that list may hold the labelled ones already
        names = setup.case_ids(others)  # those that are annotated in part
        others += [volume for volume in labelled if volume.case.case_id not in names]
    augmentation = segmentation.augmentation_of(args)
    confidence = args.confidence if args.method == "unimatch" else None

    def draw(step: int) -> TaughtBatch:
        rng = generator(args.seed, step // dataset.val_step_update, step)
        options = {"counts": counts, "num_classes": dataset.num_classes, "augmentation": augmentation}
        options["oversample"] = args.oversample
        return taught_batch(rng, labelled, others, make, **options)

    def make_batch(step: int) -> tuple[Any, dict[str, Any]]:
        drawn = draw(step)
        return drawn.images, {LOGITS: drawn.labels, CONSISTENCY: drawn.targets}

    def describe(step: int) -> list[dict[str, Any]]:
        drawn = draw(step)
        return [
            *setup.describe_slices(labelled, drawn.labelled_sources, part="labelled"),
            *setup.describe_slices(others, drawn.unlabelled_sources, part="unlabelled"),
        ]

    return setup.plan(
        args,
        dataset,
        make_batch=make_batch,
        describe_batch=describe,
        validate=evaluation.validation_of(dataset, network, job.volumes.val, confidence=confidence),
        average_decay=_average_decay(args),
        kept=network,
    )


def _average_decay(args: JointTraining) -> float:
    """Returns the decay of the average that is validated and saved: `--average_decay`, or if 0 the teacher's."""
    name = "average_decay" if args.average_decay else "teacher_decay"
    decay = args.average_decay or args.teacher_decay
    if decay:
        logging.info("An average of the weights is validated and saved; its decay is %g (--%s).", decay, name)
    else:
        logging.info("The weights are validated and saved as they are: --average_decay and --teacher_decay are 0.")
    return decay
