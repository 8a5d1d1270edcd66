"""Pretraining without labels: an encoder by the global loss, decoder blocks by the local loss, a ResNet by groups.

References: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, sections 3.1 and 3.2; Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

import losses
import models
from fewslice.core.errors import ConfigError
from fewslice.data import cache
from fewslice.data.batches import contrastive, generator, group
from fewslice.evaluate.collapse import effective_rank
from fewslice.settings import datasets
from fewslice.settings.group_contrastive import ENCODERS, GroupContrastive
from fewslice.settings.stage_flags import GlobalPretraining, GroupPretraining, LocalPretraining
from fewslice.stages.checks import contrastive_plan, group_plan, hierarchy
from fewslice.train import setup
from fewslice.train.optimizers import CoupledAdam
from fewslice.train.trainer import Trainer

PROBE = -1  # the step that stands for the monitor's fixed batch
_PROBE_EPOCH = 2**31 - 1  # the epoch number from which that is drawn

# Partner -> letter in the run's name, what it is.
_PARTNERS = {
    "use_slice_pos": ("s", "neighbour"),
    "use_phase": ("v", "volume partner"),
    "use_patient": ("p", "patient partner"),
}

BatchOfStep = Callable[[int], contrastive.ContrastiveBatch]
OpenBatches = Callable[[cache.PreparedSet], tuple[BatchOfStep, str]]
Pretraining = GlobalPretraining | LocalPretraining


def source_of(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Returns the source of randomness of a step, or of `PROBE`."""
    return generator(seed, _PROBE_EPOCH, 0) if step == PROBE else generator(seed, epoch, step)


def pretrain_encoder(args: GlobalPretraining, dataset: datasets.DatasetConfig) -> None:
    """Trains encoder and head g1 with the global contrastive loss."""
    origin = setup.find_origin(args, dataset)

    def make() -> keras.Model:
        arch = setup.architecture(vars(args))
        model = models.build_global_net(setup.image_shape(dataset), seed=args.seed, arch=arch)
        setup.copy_origin(model, origin)
        return model

    loss = losses.GlobalContrastive(args.global_loss_exp_no, args.temp_fac)
    method = f"exp{args.global_loss_exp_no}_parts{args.n_parts}_bt{args.bt_size}_s{args.seed}"
    batches = functools.partial(_by_segment, args, dataset, box=args.bbox_dim)
    pretrain(args, dataset, method, origin, make, loss, batches, args.lr_reg)


def pretrain_decoder(args: LocalPretraining, dataset: datasets.DatasetConfig) -> None:
    """Trains decoder blocks and head g2 with the local contrastive loss; the encoder stays as it was pretrained."""
    origin = setup.find_origin(args, dataset)
    exp_no, shape, arch = args.local_loss_exp_no, setup.image_shape(dataset), setup.architecture(vars(args))
    regions = _regions(models.local_map_size(shape, args.no_of_decoder_blocks, arch), args)

    def make() -> keras.Model:
        how = {"positions": regions.positions, "region_size": regions.region_size, "seed": args.seed, "arch": arch}
        model = models.build_local_net(shape, args.no_of_decoder_blocks, use_projection=bool(args.wgt_en), **how)
        setup.copy_origin(model, origin, exclude=("loc_",))
        models.freeze(model, "enc_")
        return model

    options = {"temperature": args.temp_fac, "batch_negatives": bool(args.batch_negatives)}
    loss = losses.LocalContrastive(exp_no, regions, **options)
    method = f"local{exp_no}_dec{args.no_of_decoder_blocks}_global{args.global_loss_exp_no}_s{args.seed}"
    batches = functools.partial(_by_segment, args, dataset)
    pretrain(args, dataset, method, origin, make, loss, batches, args.lr_reg)


def _by_segment(
    args: Pretraining, dataset: datasets.DatasetConfig, volumes: cache.PreparedSet, *, box: int | None = None
) -> tuple[BatchOfStep, str]:
    """Returns the batches of a stage that draws each by itself; an epoch is a segment of the training."""
    plan, strong = contrastive_plan(args, dataset), bool(args.strong_views)

    def batch(step: int) -> contrastive.ContrastiveBatch:
        rng = source_of(args.seed, step // dataset.val_step_update, step)
        return contrastive.contrastive_batch(rng, volumes, plan, box=box, strong=strong)

    return batch, ""


def _regions(size: tuple[int, int], args: LocalPretraining) -> losses.RegionTable:
    negatives = args.no_of_neg_regs_override if args.local_loss_exp_no == 1 else args.no_of_neg_local_regions
    how = {"local_reg_size": args.local_reg_size, "no_of_neg_local_regions": negatives or "all"}
    try:
        table = losses.region_table(size, args.no_of_local_regions, **how)
    except ValueError as error:
        raise ConfigError(f"{error} Choose more decoder blocks or another region size.") from error
    if table.has_overlap:
        text = "Regions of a map of %d x %d overlap, since it is so small; a negative shares pixels with its positive."
        logging.warning(text, *size)
    return table


def pretrain_group_encoder(args: GroupPretraining, dataset: datasets.DatasetConfig) -> Path:
    """Trains encoder and projection head with the group contrastive loss. Returns the run directory."""
    origin = setup.find_origin(args, dataset)

    def make() -> keras.Model:
        _log_terms(args)
        how = {"depth": ENCODERS[args.encoder], "projection_size": args.projection_dim, "seed": args.seed}
        model = models.build_group_encoder(setup.image_shape(dataset), **how)
        setup.copy_origin(model, origin)
        return model

    groups = "".join(_PARTNERS[name][0] for name in args.partners) or "simclr"
    method = f"{args.encoder}_{groups}_bs{args.batch_size}_s{args.seed}"
    batches, adam = functools.partial(_by_groups, args), functools.partial(CoupledAdam, l2=args.weight_decay)
    return pretrain(args, dataset, method, origin, make, group_loss(args), batches, args.lr, adam)


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


def _by_groups(args: GroupPretraining, volumes: cache.PreparedSet) -> tuple[BatchOfStep, str]:
    plan = group_plan(args)
    slices = hierarchy(volumes)
    sampler = group.GroupSampler(slices, plan, seed=args.seed, reset_every_epoch=bool(args.reset_sampler_every_epoch))

    def batch(step: int) -> contrastive.ContrastiveBatch:
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


def pretrain(
    args: Pretraining | GroupPretraining,
    dataset: datasets.DatasetConfig,
    method: str,
    origin: setup.Origin,
    make: Callable[[], keras.Model],
    loss: keras.losses.Loss,
    open_batches: OpenBatches,
    learning_rate: float,
    make_optimizer: Callable[[float], keras.optimizers.Optimizer] = setup.optimizer,
) -> Path:
    """Runs a contrastive stage and returns its run directory.

    Args:
        make: Builds the network with its initial weights.
        loss: Has `random_level`.
        open_batches: Volumes -> the function that makes the batch of a step (or of `PROBE`), and a sentence on the
            batches for the log, or "".
    """
    volumes = cache.open_volumes(dataset, args.train_ids, dataset.unlabeled_phases, with_label=False)
    batch, note = open_batches(volumes)
    with setup.open_run(args, dataset, method, origin, {"unlabeled": volumes}) as run:
        if not setup.begin(run, args):
            return run.dir
        ids = batch(0).ids
        level = loss.random_level(ids)
        text = "%s: %d volumes, %d rows a step.%s Loss of random embeddings: %.3f."
        logging.info(text, run.dir, len(volumes), len(ids), note and f" {note}", level)
        model = setup.build(args, make, loss, learning_rate, make_optimizer=make_optimizer)
        probe = batch(PROBE)

        def make_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
            drawn = batch(step)
            return drawn.images, drawn.ids.astype(np.float32)

        def monitor() -> dict[str, float]:
            embeddings = np.asarray(model.predict_on_batch(probe.images), np.float32)
            rank = effective_rank(embeddings.reshape(-1, embeddings.shape[-1]))
            return {"random_level": level, "effective_rank": rank}

        def describe(step: int) -> list[dict[str, Any]]:
            return setup.describe_slices(volumes, batch(step).sources)

        plan = setup.plan(args, dataset, make_batch=make_batch, describe_batch=describe, monitor=monitor)
        trainer = Trainer(run, model, plan)
        trainer.train()
        run.finish({"loss": trainer.rows[-1]["loss"], "random_level": level})
        logging.info("Finished: %s", run.dir)
    return run.dir
