"""Training with labels: the baseline, and fine-tuning of pretrained networks. Each ends with the test volumes.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4.
"""

from __future__ import annotations

import keras
import numpy as np
from absl import logging

import losses
import models
from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.core import backend
from fewslice.data import cache
from fewslice.data.batches import contrastive, generator
from fewslice.settings import datasets
from fewslice.settings.stage_flags import Baseline, DecoderFineTuning, EncoderFineTuning, Segmentation
from fewslice.train import setup
from fewslice.train.evaluation import evaluate_run, validation_of
from fewslice.train.trainer import Plan, Trainer


def train_baseline(args: Baseline, dataset: datasets.DatasetConfig) -> None:
    """Trains the U-Net from random weights (or from `--init_from`)."""
    _train(args, dataset, f"s{args.seed}", augmentation_of(args))


def fine_tune_encoder(args: EncoderFineTuning, dataset: datasets.DatasetConfig) -> None:
    """Trains the U-Net from an encoder that was pretrained with the global loss."""
    variant = f"exp{args.global_loss_exp_no}_s{args.seed}"
    _train(args, dataset, variant, augmentation_of(args) if args.data_aug else None)


def fine_tune_encoder_decoder(args: DecoderFineTuning, dataset: datasets.DatasetConfig) -> None:
    """Trains the U-Net from an encoder and decoder blocks that were pretrained with the local loss."""
    variant = f"local{args.local_loss_exp_no}_dec{args.no_of_decoder_blocks}_s{args.seed}"
    _train(args, dataset, variant, augmentation_of(args) if args.data_aug else None)


def _train(
    args: Segmentation, dataset: datasets.DatasetConfig, variant: str, augmentation: SegmentationAugmentation | None
) -> None:
    """Runs a labelled stage: training, validation, test."""
    origin = setup.find_origin(args, dataset)
    method = f"{args.no_of_tr_imgs}_{args.comb_tr_imgs}_{variant}"
    train = setup.open_volumes(dataset, args.train_ids, dataset.phases, with_label=True)
    val = setup.open_volumes(dataset, args.val_ids, dataset.phases, with_label=True)
    test = setup.open_volumes(dataset, dataset.splits.test_ids(), dataset.phases, with_label=True)
    roles = {"train": train, "val": val, "test": test}
    with setup.open_run(args, dataset, method, origin, roles) as run:
        if run.is_done:
            logging.info("Already finished: %s", run.dir)
            return
        backend.configure(seed=args.seed, mixed_precision=args.mixed_precision, devices=args.devices)
        run.start(backend.versions())
        logging.info(
            "%s: training on %s, validation %s, test %s.",
            run.dir,
            *(", ".join(setup.case_ids(prepared)) for prepared in roles.values()),
        )

        def make() -> keras.Model:
            model = models.build_unet(setup.image_shape(dataset), dataset.num_classes, seed=args.seed)
            setup.copy_origin(model, origin, exclude=("seg_",))
            return model

        loss = losses.segmentation_loss(args.dsc_loss, dataset.class_weights)
        model = setup.build(args, make, loss, args.lr_seg)
        trainer = Trainer(run, model, _plan(args, dataset, model, train, val, augmentation))
        trainer.train()
        results = evaluate_run(run, model, dataset, test)
        run.finish({"best_step": trainer.tracker.best_step, "val_dice": trainer.tracker.best, **results})
        logging.info("Finished: %s", run.dir)


def _plan(
    args: Segmentation,
    dataset: datasets.DatasetConfig,
    model: keras.Model,
    train: cache.PreparedSet,
    val: cache.PreparedSet,
    augmentation: SegmentationAugmentation | None,
) -> Plan:
    def batch(step: int) -> contrastive.SegmentationBatch:
        return contrastive.segmentation_batch(
            generator(args.seed, step // dataset.val_step_update, step),
            train,
            batch_size=dataset.mtask_bs,
            num_classes=dataset.num_classes,
            augmentation=augmentation,
            mixup=args.mixup,
        )

    def make_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = batch(step)
        return drawn.images, drawn.labels

    return Plan(
        make_batch=make_batch,
        describe_batch=lambda step: [
            {"case_id": train[volume].case.case_id, "slice_index": int(index)} for volume, index in batch(step).sources
        ],
        n_iter=args.n_iter,
        segment=dataset.val_step_update,
        validate=validation_of(dataset, model, val),
        average_decay=args.average_decay,
        tensorboard=args.tensorboard,
    )


def augmentation_of(args: Segmentation) -> SegmentationAugmentation:
    """Returns how labelled slices are augmented."""
    return SegmentationAugmentation(
        rd_en=bool(args.rd_en),
        ri_en=bool(args.ri_en),
        rd_ni=bool(args.rd_ni),
        sigma=args.sigma,
        per_image=bool(args.ri_per_image),
        strong=bool(args.strong_aug),
    )
