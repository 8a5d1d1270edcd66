"""Training with labels: the baseline, and fine-tuning of pretrained networks. Each ends with the test volumes.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from absl import logging

import losses
import models
from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.augment.strong_intensity import StrongIntensity
from fewslice.core import backend, checkpoint
from fewslice.core.run import Run
from fewslice.data import cache
from fewslice.data.batches import contrastive, generator
from fewslice.evaluate import validation, volumes
from fewslice.settings import datasets
from fewslice.settings.stage_flags import Baseline, DecoderFineTuning, EncoderFineTuning, Segmentation
from fewslice.train import setup
from fewslice.train.predict import predictor
from fewslice.train.trainer import BEST, LAST, Plan, Trainer


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
        strong=StrongIntensity(cutout=0) if args.strong_aug else None,
    )


def validation_of(
    dataset: datasets.DatasetConfig, model: keras.Model, val: cache.PreparedSet, *, confidence: float | None = None
) -> Callable[[], dict[str, float]]:
    """Returns the function that scores a network on the validation volumes; `confidence`: see `validation.validate`."""
    predict = predictor(model, dataset.mtask_bs)

    def validate() -> dict[str, float]:
        items = ((volume, volume.native_label) for volume in val)
        result = validation.validate(items, predict, dataset=dataset, confidence=confidence)
        return validation.log_values(result, dataset.struct_name)

    return validate


def evaluate_run(
    run: Run,
    model: keras.Model,
    dataset: datasets.DatasetConfig,
    test: cache.PreparedSet,
    *,
    network: keras.Model | None = None,
) -> dict[str, float]:
    """Scores the test volumes with the weights of the best validation (saved) and with the last ones (numbers only).

    Args:
        run: The run; its checkpoints hold the weights of `model`.
        model: What the saved weights belong to.
        dataset: The dataset's settings.
        test: Volumes to score.
        network: The part of `model` that predicts, image -> logits, if that is not all of it.

    Returns:
        "test_dice" and "test_dice_last", means over volumes of the mean foreground Dice.
    """
    results: dict[str, float] = {}
    for name, key, folder in ((LAST, "test_dice_last", run.eval / "last"), (BEST, "test_dice", run.eval)):
        weights, record = checkpoint.load_arrays(run.checkpoints / name)
        models.set_weights(model, weights)
        scores = volumes.evaluate_cases(
            ((volume, volume.native) for volume in test),
            predictor(network or model, dataset.mtask_bs),
            dataset=dataset,
            out_dir=folder,
            save_predictions=name == BEST,
            progress=_log_score if name == BEST else None,
        )
        results[key] = validation.mean_foreground_dice(scores)
        title = {LAST: "Last weights", BEST: "Weights of the best validation"}[name]
        logging.info("%s (step %s): mean test Dice %.4f", title, record["step"], results[key])
    return results


def _log_score(score: volumes.VolumeScore) -> None:
    logging.info("Test volume %s: mean Dice %.3f", score.case_id, score.mean_dice)
