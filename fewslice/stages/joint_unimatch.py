"""UniMatch: predictions on strongly changed slices shall be those on weakly changed ones.

Reference: Yang et al., 2023, https://arxiv.org/abs/2208.09910.
"""

from __future__ import annotations

import keras

import losses
import models
from fewslice.data import taught_batches
from fewslice.stages import common
from fewslice.stages.joint_job import Job, Prepared
from fewslice.stages.joint_taught import plan
from models.joint import LOGITS
from models.teacher import CONSISTENCY


def prepare(job: Job) -> Prepared:
    """Returns the network of UniMatch and its plan."""
    args, dataset = job.args, job.dataset
    counts = dataset.mtask_bs, args.unlabelled_bs or dataset.mtask_bs
    unet = None

    def make() -> keras.Model:
        nonlocal unet
        model, unet = models.build_unimatch_net(
            common.image_shape(dataset),
            dataset.num_classes,
            num_labelled=counts[0],
            num_unlabelled=counts[1],
            teacher_decay=args.teacher_decay,
            feature_dropout=args.feature_dropout,
            seed=args.seed,
        )
        job.start_weights(model, heads=(job.origin,))
        models.start_teacher(model)
        return model

    consistency = losses.WeakToStrong(
        args.confidence, soft=bool(args.soft_labels), drops_features=args.feature_dropout > 0
    )
    terms = {LOGITS: losses.segmentation_loss(args.dsc_loss, dataset.class_weights), CONSISTENCY: consistency}
    weights = {LOGITS: 1.0, CONSISTENCY: args.consistency_weight}
    model = common.build(args, make, terms, args.lr_seg, loss_weights=weights)
    return Prepared(model, unet, plan(job, unet, taught_batches.unimatch_batch, counts))
