"""Pretraining without labels: a ResNet by the group contrastive loss, or by SimCLR where there are no groups.

Reference: Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from absl import logging

import losses
import models
from fewslice.data import cache
from fewslice.data.batches import group
from fewslice.data.batches.contrastive import ContrastiveBatch
from fewslice.settings import datasets
from fewslice.settings.flag_specs_group import ENCODERS, positions
from fewslice.stages.checks import group_plan, hierarchy
from fewslice.stages.contrastive import PROBE, BatchOfStep, Task, pretrain, source_of
from fewslice.train import setup
from fewslice.train.optimizers import CoupledAdam
from fewslice.train.upstream import former_of

# Partners in the order of their positions: flag, letter in the run's name, what it is.
_PARTNERS = (
    ("use_slice_pos", "s", "neighbour"),
    ("use_phase", "v", "volume partner"),
    ("use_patient", "p", "patient partner"),
)


def pretrain_group_encoder(args: Any, dataset: datasets.DatasetConfig) -> Path:
    """Trains encoder and projection head with the group contrastive loss. Returns the run directory."""
    origin = setup.find_origin(args, *former_of(args), dataset)

    def make() -> keras.Model:
        _tell_terms(args)
        model = models.build_group_encoder(
            setup.image_shape(dataset),
            depth=ENCODERS[args.encoder],
            projection_size=args.projection_dim,
            seed=args.seed,
        )
        setup.copy_origin(model, origin)
        return model

    groups = "".join(letter for flag, letter, _ in _PARTNERS if getattr(args, flag)) or "simclr"
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


def group_loss(args: Any) -> losses.GroupContrastive:
    """Returns the loss that the flags describe; terms without a weight are left out."""
    terms = {number: getattr(args, f"pos_loss{number}_wt") for number in (1, 2, 3)}
    terms = {number: weight for number, weight in terms.items() if weight}
    return losses.GroupContrastive(
        args.temperature,
        loss_wt=args.loss_wt,
        neg_loss_wt=args.neg_loss_wt,
        pos_loss_wts=tuple(terms.values()),
        pos_loss_masks=tuple(positions(getattr(args, f"pos_loss{number}_mask")) for number in terms),
        positives=args.positives,
    )


def _open_batches(args: Any, volumes: cache.PreparedSet) -> tuple[BatchOfStep, str]:
    plan = group_plan(args)
    slices = hierarchy([volume.case for volume in volumes], [len(volume.image) for volume in volumes])
    sampler = group.GroupSampler(slices, plan, seed=args.seed, reset_every_epoch=bool(args.reset_sampler_every_epoch))

    def batch(step: int) -> ContrastiveBatch:
        epoch, sources = sampler.at_step(0 if step == PROBE else step)
        return group.group_batch(source_of(args.seed, epoch, step), volumes, sources, plan)

    return batch, f"{len(slices)} slices, {len(sampler.batches(0))} batches an epoch."


def _tell_terms(args: Any) -> None:
    """Logs what each group-positive term compares, since positions depend on which partners are on."""
    names = ["anchor", *(name for flag, _, name in _PARTNERS if getattr(args, flag))]
    for number in (1, 2, 3):
        weight = getattr(args, f"pos_loss{number}_wt")
        left_out = positions(getattr(args, f"pos_loss{number}_mask"))
        kept = [name for position, name in enumerate(names) if position not in left_out]
        text = ", ".join(kept) if args.positives == "group" else "every row of the batch"
        if weight:
            logging.info("Group-positive term %d, weight %g, draws together: %s.", number, weight, text)
