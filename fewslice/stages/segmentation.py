"""Training with labels: the baseline, and fine-tuning of pretrained networks. Each ends with the test volumes.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

import losses
import models
from fewslice.augment import standard
from fewslice.augment.segmentation import SegmentationAugmentation
from fewslice.core import backend
from fewslice.core.done import TESTED, TESTED_AFTER
from fewslice.core.errors import few
from fewslice.core.run import Run
from fewslice.data import cache
from fewslice.data.batches import contrastive, generator
from fewslice.settings import datasets, recipe
from fewslice.settings.stage_flags import Baseline, DecoderFineTuning, EncoderFineTuning, Segmentation
from fewslice.train import setup
from fewslice.train.evaluation import evaluate_run, validation_of
from fewslice.train.networks import read_into
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


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A network ready to train, and its plan.

    Attributes:
        model: The network with all its heads, compiled.
        network: The part that predicts, image -> logits.
    """

    model: keras.Model
    network: keras.Model
    plan: Plan


def open_labelled(args: Segmentation, dataset: datasets.DatasetConfig) -> dict[str, cache.PreparedSet]:
    """Returns the volumes of the roles "train", "val" and "test"; there may be none to validate or to test on."""
    patients = {"train": args.train_ids, "val": args.val_ids, "test": dataset.splits.test}
    return {
        role: cache.open_volumes(dataset, names, dataset.phases, with_label=True) for role, names in patients.items()
    }


def train_and_score(
    args: Segmentation,
    dataset: datasets.DatasetConfig,
    variant: str,
    origin: setup.Origin,
    volumes: Mapping[str, cache.PreparedSet],
    prepare: Callable[[Run], Prepared],
    *,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Runs a labelled stage: training, validation, test. The test is left out with `--test=0`, until it is asked for.

    Args:
        variant: What tells this run from others of the same split, for its name.
        volumes: Those of `open_labelled`; in joint training also "unlabeled".
        prepare: The run, started -> its network and plan.
    """
    method = f"{args.no_of_tr_imgs}_{args.comb_tr_imgs}_{variant}"
    with setup.open_run(args, dataset, method, origin, volumes, extra=extra) as run:
        before = run.record
        if not setup.begin(run, args):
            if args.test and volumes["test"] and TESTED not in before:
                _open_test(run, args, dataset, volumes["test"])
            return
        roles = {"train": "training on", "val": "validation", "test": "test", "unlabeled": "without labels"}
        used = [f"{roles[role]} {few(setup.case_ids(prepared)) or 'none'}" for role, prepared in volumes.items()]
        logging.info("%s: %s.", run.dir, ", ".join(used))
        recipe.describe(args, dataset)
        if dataset.ignore_label is not None:
            text = "%d of %d slices are annotated; only annotated pixels train and score."
            counts = [(len(each.annotated_slices), len(each.label)) for each in volumes["train"]]
            logging.info(text, *map(sum, zip(*counts, strict=True)))
        setup.warn_of_nothing(volumes["train"])
        made = prepare(run)
        tests = args.test * (1 if args.keep == "last" else 2)  # of the best and of the last weights
        tests *= len(volumes["test"]) / max(len(volumes["val"]), 1)
        trainer = Trainer(run, made.model, dataclasses.replace(made.plan, tests=tests))
        trainer.train()

        def load(name: str) -> int:
            weights, record = trainer.load(name)
            models.set_weights(made.plan.kept or made.model, weights)
            return record["step"]

        role = "test" if volumes["test"] else "val"
        results = {}
        if role == "val":
            logging.warning("There is no test list; the validation volumes, which chose the weights, are scored.")
        elif not args.test:
            logging.info("The test volumes stay sealed; the same command with --test=1 scores them and trains nothing.")
        if volumes[role] and (args.test or role == "val"):
            how = {"role": role, "mirroring": bool(args.mirroring)}
            results = evaluate_run(run, load, made.network, dataset, volumes[role], **how)
        else:
            shutil.rmtree(run.eval, ignore_errors=True)  # of a shorter training
        opened = {*before.get(TESTED_AFTER, ()), *([run.n_iter] if TESTED in results else [])}
        results |= {TESTED_AFTER: sorted(opened)} if opened else {}
        score = trainer.rows[-1].get("val_dice") if args.keep == "last" else trainer.tracker.best
        run.finish({"best_step": trainer.tracker.best_step, "val_dice": score, **results})
        logging.info("Finished: %s", run.dir)


def _open_test(run: Run, args: Segmentation, dataset: datasets.DatasetConfig, test: cache.PreparedSet) -> None:
    """Scores the test volumes of a finished run that left them sealed."""
    backend.configure(seed=args.seed, mixed_precision=args.mixed_precision, devices=args.devices)
    network = models.build_unet(setup.image_shape(dataset), dataset.num_classes, arch=setup.architecture(vars(args)))

    def load(name: str) -> int:
        return read_into(network, run.checkpoints / name, kind="this U-Net")

    results = evaluate_run(run, load, network, dataset, test, mirroring=bool(args.mirroring))
    kept = {name: value for name, value in run.record.items() if name in ("best_step", "val_dice", TESTED_AFTER)}
    run.n_iter = run.steps_done  # the command may name fewer
    run.finish(kept | results | {TESTED_AFTER: [*kept.get(TESTED_AFTER, ()), run.n_iter]})


def _train(
    args: Segmentation, dataset: datasets.DatasetConfig, variant: str, augmentation: SegmentationAugmentation | None
) -> None:
    """Runs a stage that sees labelled volumes only."""
    origin = setup.find_origin(args, dataset)
    volumes = open_labelled(args, dataset)

    arch, unet = setup.architecture(vars(args)), None
    scales = models.scales(arch) if args.deep_supervision else {}

    def make() -> keras.Model:
        nonlocal unet
        unet = models.build_unet(setup.image_shape(dataset), dataset.num_classes, seed=args.seed, arch=arch)
        setup.copy_origin(unet, origin, exclude=("seg_",))
        return models.with_deep_heads(unet, scales, seed=args.seed) if scales else unet

    def batch(step: int) -> contrastive.SegmentationBatch:
        return contrastive.segmentation_batch(
            generator(args.seed, step // dataset.val_step_update, step),
            volumes["train"],
            batch_size=dataset.mtask_bs,
            num_classes=dataset.num_classes,
            augmentation=augmentation,
            mixup=args.mixup,
            oversample=args.oversample,
        )

    def make_batch(step: int) -> tuple[np.ndarray, Any]:
        drawn = batch(step)
        return drawn.images, models.at_scales(drawn.labels, scales) if scales else drawn.labels

    def prepare(_run: Run) -> Prepared:
        loss = losses.segmentation_loss(args.dsc_loss, dataset.class_weights)
        terms = dict.fromkeys(scales, loss) if scales else loss
        weights = models.loss_weights(scales) if scales else None
        model = setup.build(args, make, terms, args.lr_seg, loss_weights=weights)
        plan = setup.plan(
            args,
            dataset,
            make_batch=make_batch,
            describe_batch=lambda step: setup.describe_slices(volumes["train"], batch(step).sources),
            validate=validation_of(dataset, unet, volumes["val"]),
            kept=unet,
        )
        return Prepared(model, unet, plan)

    train_and_score(args, dataset, variant, origin, volumes, prepare)


def augmentation_of(args: Segmentation) -> SegmentationAugmentation:
    """Returns how labelled slices are augmented."""
    switches = {name: bool(getattr(args, name)) for name in ("rd_en", "ri_en", "rd_ni")}
    more = {"per_image": bool(args.ri_per_image), "strong": bool(args.strong_aug)}
    return SegmentationAugmentation(sigma=args.sigma, names=standard.listed(args.augment), **switches, **more)
