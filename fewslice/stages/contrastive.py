"""Pretraining without labels: the encoder by the global loss, decoder blocks by the local loss.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, sections 3.1 and 3.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

import losses
import models
from fewslice.core import backend
from fewslice.core.errors import ConfigError
from fewslice.data import cache
from fewslice.data.batches import contrastive, generator
from fewslice.evaluate.collapse import effective_rank
from fewslice.settings import datasets
from fewslice.settings.stage_flags import GlobalPretraining, GroupPretraining, LocalPretraining
from fewslice.stages.checks import contrastive_plan
from fewslice.train import setup
from fewslice.train.trainer import Plan, Trainer

PROBE = -1  # the step that stands for the monitor's fixed batch
_PROBE_EPOCH = 2**31 - 1  # the epoch number from which that is drawn

BatchOfStep = Callable[[int], contrastive.ContrastiveBatch]
Pretraining = GlobalPretraining | LocalPretraining


@dataclasses.dataclass(frozen=True)
class Task:
    """Parts that differ between the contrastive stages.

    Attributes:
        method: Short readable name of the variant.
        open_batches: Volumes -> the function that makes the batch of a step (or of `PROBE`), and a sentence on the
            batches for the log, or "".
        loss: Has `random_level`.
        make: Builds the network with its initial weights.
        origin: Where these come from.
        learning_rate: Of the optimizer.
        make_optimizer: Learning rate -> optimizer.
    """

    method: str
    open_batches: Callable[[cache.PreparedSet], tuple[BatchOfStep, str]]
    loss: keras.losses.Loss
    make: Callable[[], keras.Model]
    origin: setup.Origin
    learning_rate: float
    make_optimizer: Callable[[float], keras.optimizers.Optimizer] = setup.optimizer


def source_of(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Returns the source of randomness of a step, or of `PROBE`."""
    return generator(seed, _PROBE_EPOCH, 0) if step == PROBE else generator(seed, epoch, step)


def pretrain_encoder(args: GlobalPretraining, dataset: datasets.DatasetConfig) -> None:
    """Trains encoder and head g1 with the global contrastive loss."""
    origin = setup.find_origin(args, dataset)

    def make() -> keras.Model:
        model = models.build_global_net(setup.image_shape(dataset), seed=args.seed)
        setup.copy_origin(model, origin)
        return model

    loss = losses.GlobalContrastive(args.global_loss_exp_no, args.temp_fac)
    method = f"exp{args.global_loss_exp_no}_parts{args.n_parts}_bt{args.bt_size}_s{args.seed}"
    batches = _by_segment(args, dataset, box=args.bbox_dim)
    pretrain(args, dataset, Task(method, batches, loss, make, origin, args.lr_reg))


def pretrain_decoder(args: LocalPretraining, dataset: datasets.DatasetConfig) -> None:
    """Trains decoder blocks and head g2 with the local contrastive loss; the encoder stays as it was pretrained."""
    origin = setup.find_origin(args, dataset)
    exp_no = args.local_loss_exp_no
    shape = setup.image_shape(dataset)
    negatives = args.no_of_neg_regs_override if exp_no == 1 else args.no_of_neg_local_regions
    regions = _regions(models.local_map_size(shape, args.no_of_decoder_blocks), args, negatives)

    def make() -> keras.Model:
        model = models.build_local_net(
            shape,
            args.no_of_decoder_blocks,
            positions=regions.positions,
            region_size=regions.region_size,
            use_projection=bool(args.wgt_en),
            seed=args.seed,
        )
        setup.copy_origin(model, origin, exclude=("loc_",))
        models.freeze(model, "enc_")
        return model

    loss = losses.LocalContrastive(
        exp_no, regions, temperature=args.temp_fac, batch_negatives=bool(args.batch_negatives)
    )
    method = f"local{exp_no}_dec{args.no_of_decoder_blocks}_global{args.global_loss_exp_no}_s{args.seed}"
    batches = _by_segment(args, dataset)
    pretrain(args, dataset, Task(method, batches, loss, make, origin, args.lr_reg))


def _by_segment(
    args: Pretraining, dataset: datasets.DatasetConfig, *, box: int | None = None
) -> Callable[[cache.PreparedSet], tuple[BatchOfStep, str]]:
    """Returns `Task.open_batches` of a stage that draws each batch by itself; an epoch is a segment of the training."""
    plan, strong = contrastive_plan(args, dataset), bool(args.strong_views)

    def open_batches(volumes: cache.PreparedSet) -> tuple[BatchOfStep, str]:
        def batch(step: int) -> contrastive.ContrastiveBatch:
            rng = source_of(args.seed, step // dataset.val_step_update, step)
            return contrastive.contrastive_batch(rng, volumes, plan, box=box, strong=strong)

        return batch, ""

    return open_batches


def _regions(size: tuple[int, int], args: LocalPretraining, negatives: int) -> losses.RegionTable:
    try:
        table = losses.region_table(
            size,
            args.no_of_local_regions,
            local_reg_size=args.local_reg_size,
            no_of_neg_local_regions=negatives or "all",
        )
    except ValueError as error:
        raise ConfigError(f"{error} Choose more decoder blocks or another region size.") from error
    if table.has_overlap:
        logging.warning(
            "The map of %d x %d is so small that neighbouring regions overlap; a negative shares pixels with its "
            "positive.",
            *size,
        )
    return table


def pretrain(
    args: GlobalPretraining | LocalPretraining | GroupPretraining, dataset: datasets.DatasetConfig, task: Task
) -> Path:
    """Runs a contrastive stage and returns its run directory."""
    volumes = setup.open_volumes(dataset, args.train_ids, dataset.unlabeled_phases, with_label=False)
    batch, note = task.open_batches(volumes)
    with setup.open_run(args, dataset, task.method, task.origin, {"unlabeled": volumes}) as run:
        if run.is_done:
            logging.info("Already finished: %s", run.dir)
            return run.dir
        backend.configure(seed=args.seed, mixed_precision=args.mixed_precision)
        run.start(backend.versions())
        ids = batch(0).ids
        level = task.loss.random_level(ids)
        text = "%s: %d volumes, %d rows a step.%s Loss of random embeddings: %.3f."
        logging.info(text, run.dir, len(volumes), len(ids), note and f" {note}", level)
        model = setup.build(args, task.make, task.loss, task.learning_rate, make_optimizer=task.make_optimizer)

        def make_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
            drawn = batch(step)
            return drawn.images, drawn.ids.astype(np.float32)

        plan = Plan(
            make_batch=make_batch,
            describe_batch=lambda step: _describe(batch(step), volumes),
            n_iter=args.n_iter,
            segment=dataset.val_step_update,
            monitor=_monitor(model, batch(PROBE), level),
            average_decay=args.average_decay,
            tensorboard=args.tensorboard,
        )
        trainer = Trainer(run, model, plan)
        trainer.train()
        run.finish({"loss": trainer.rows[-1]["loss"], "random_level": level})
        logging.info("Finished: %s", run.dir)
    return run.dir


def _monitor(model: keras.Model, probe: contrastive.ContrastiveBatch, level: float) -> Callable[[], dict[str, float]]:
    def monitor() -> dict[str, float]:
        embeddings = np.asarray(model.predict_on_batch(probe.images), np.float32)
        return {
            "random_level": level,
            "effective_rank": effective_rank(embeddings.reshape(-1, embeddings.shape[-1])),
        }

    return monitor


def _describe(batch: contrastive.ContrastiveBatch, volumes: Any) -> list[dict[str, Any]]:
    names = setup.case_ids(volumes)
    return [{"case_id": names[volume], "slice_index": int(index)} for volume, index in batch.sources]
