"""UniMatch: predictions on strongly changed slices shall be those on weakly changed ones.

Reference: Yang et al., 2023, https://arxiv.org/abs/2208.09910.
"""

from __future__ import annotations

import functools

import losses
import models
from fewslice.data import taught_batches
from fewslice.stages import joint_taught
from fewslice.stages.joint_job import Job, Prepared


def prepare(job: Job) -> Prepared:
    """Returns the network of UniMatch and its plan."""
    args = job.args
    build = functools.partial(models.build_unimatch_net, feature_dropout=args.feature_dropout)
    loss = losses.WeakToStrong(args.confidence, soft=bool(args.soft_labels), drops_features=args.feature_dropout > 0)
    return joint_taught.prepare(job, build, loss, taught_batches.unimatch_batch)
