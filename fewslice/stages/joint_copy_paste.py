"""Bidirectional copy-paste: labelled and unlabelled slices are pasted into each other.

Reference: Bai et al., 2023, https://arxiv.org/abs/2305.00673.
"""

from __future__ import annotations

import losses
import models
from fewslice.data import taught_batches
from fewslice.stages import joint_taught
from fewslice.stages.joint_job import Job, Prepared


def prepare(job: Job) -> Prepared:
    """Returns the network of copy-paste training and its plan."""
    args = job.args
    loss = losses.CopyPaste(soft=bool(args.soft_labels), largest_component=bool(args.largest_component))
    return joint_taught.prepare(job, models.build_copy_paste_net, loss, taught_batches.copy_paste_batch)
