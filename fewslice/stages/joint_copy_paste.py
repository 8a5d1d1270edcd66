"""Bidirectional copy-paste: labelled and unlabelled slices are pasted into each other.

Reference: Bai et al., 2023, https://arxiv.org/abs/2305.00673.
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
    """Returns the network of copy-paste training and its plan."""
    args, dataset = job.args, job.dataset
    counts = dataset.mtask_bs, args.unlabelled_bs or dataset.mtask_bs
    unet = None

    def make() -> keras.Model:
        nonlocal unet
        model, unet = models.build_copy_paste_net(
            common.image_shape(dataset),
            dataset.num_classes,
            num_labelled=counts[0],
            num_unlabelled=counts[1],
            teacher_decay=args.teacher_decay,
            seed=args.seed,
        )
        job.start_weights(model, heads=(job.origin,))
        models.start_teacher(model)
        return model

    terms = {
        LOGITS: losses.segmentation_loss(args.dsc_loss, dataset.class_weights),
        CONSISTENCY: losses.CopyPaste(soft=bool(args.soft_labels)),
    }
    weights = {LOGITS: 1.0, CONSISTENCY: args.consistency_weight}
    model = common.build(args, make, terms, args.lr_seg, loss_weights=weights)
    return Prepared(model, unet, plan(job, unet, taught_batches.copy_paste_batch, counts))
