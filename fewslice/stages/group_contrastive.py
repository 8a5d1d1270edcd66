"""Pretraining without labels: a ResNet by the group contrastive loss, or by SimCLR where there are no groups.

Reference: Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from pathlib import Path

import keras
from absl import logging

import losses
import models
from fewslice.data import cache
from fewslice.data.batches import group
from fewslice.data.batches.contrastive import ContrastiveBatch
from fewslice.settings import datasets
from fewslice.settings.group_contrastive import ENCODERS, GroupContrastive
from fewslice.settings.stage_flags import GroupPretraining
from fewslice.stages.checks import group_plan, hierarchy
from fewslice.stages.contrastive import PROBE, BatchOfStep, Task, pretrain, source_of
from fewslice.train import setup
from fewslice.train.optimizers import CoupledAdam

# Partner -> letter in the run's name, what it is.
_PARTNERS = {
    "use_slice_pos": ("s", "neighbour"),
    "use_phase": ("v", "volume partner"),
    "use_patient": ("p", "patient partner"),
}


def pretrain_group_encoder(args: GroupPretraining, dataset: datasets.DatasetConfig) -> Path:
    """Trains encoder and projection head with the group contrastive loss. Returns the run directory."""
    origin = setup.find_origin(args, dataset)

    def make() -> keras.Model:
        _log_terms(args)
        model = models.build_group_encoder(
            setup.image_shape(dataset),
            depth=ENCODERS[args.encoder],
            projection_size=args.projection_dim,
            seed=args.seed,
        )
        setup.copy_origin(model, origin)
        return model

    groups = "".join(_PARTNERS[name][0] for name in args.partners) or "simclr"
    task = Task(
        method=f"{args.encoder}_{groups}_bs{args.batch_size}_s{args.seed}",
        open_batches=lambda volumes: _open_batches(args, volumes),
        loss=group_loss(args),
        make=make,
        origin=origin,
        learning_rate=args.lr,
        make_optimizer=lambda rate: CoupledAdam(rate, l2=args.weight_decay),
    )
    return pretrain(args, dataset, task)


def group_loss(settings: GroupContrastive) -> losses.GroupContrastive:
    """Returns the loss that the settings describe; terms without a weight are left out."""
    terms = settings.positive_terms().values()
    return losses.GroupContrastive(
        settings.temperature,
        loss_wt=settings.loss_wt,
        neg_loss_wt=settings.neg_loss_wt,
        pos_loss_wts=tuple(weight for weight, _ in terms),
        pos_loss_masks=tuple(mask for _, mask in terms),
        positives=settings.positives,
    )


def _open_batches(args: GroupPretraining, volumes: cache.PreparedSet) -> tuple[BatchOfStep, str]:
    plan = group_plan(args)
    slices = hierarchy([volume.case for volume in volumes], [len(volume.image) for volume in volumes])
    sampler = group.GroupSampler(slices, plan, seed=args.seed, reset_every_epoch=bool(args.reset_sampler_every_epoch))

    def batch(step: int) -> ContrastiveBatch:
        epoch, sources = sampler.at_step(0 if step == PROBE else step)
        return group.group_batch(source_of(args.seed, epoch, step), volumes, sources, plan)

    return batch, f"{len(slices)} slices, {len(sampler.batches(0))} batches an epoch."


def _log_terms(settings: GroupContrastive) -> None:
    """Logs what each group-positive term compares, since positions depend on which partners are on."""
    names = ["anchor", *(_PARTNERS[name][1] for name in settings.partners)]
    for number, (weight, mask) in settings.positive_terms().items():
        kept = [name for position, name in enumerate(names) if position not in mask]
        text = ", ".join(kept) if settings.positives == "group" else "every row of the batch"
        logging.info("Group-positive term %d, weight %g, draws together: %s.", number, weight, text)
