"""Scores of a network during training (validation volumes) and after it (test volumes)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

import models
from fewslice.core.done import BEST, LAST
from fewslice.data import cache
from fewslice.evaluate import validation, volumes
from fewslice.evaluate.scores import VolumeScore
from fewslice.evaluate.summary import mean_foreground_dice
from fewslice.settings import datasets
from fewslice.train.predict import ensemble, predictor
from fewslice.train.trainer import Trainer


def validation_of(
    dataset: datasets.DatasetConfig,
    model: keras.Model | volumes.Predict,
    val: cache.PreparedSet,
    **how: Any,
) -> Callable[[], dict[str, float]]:
    """Returns the function that scores a network on the validation volumes.

    Args:
        model: The network, slice -> logits; or the function (slices, rows, columns, channels) -> class probabilities.
        **how: Further arguments of `fewslice.evaluate.validation.validate`.
    """
    if not val:
        logging.warning("No validation volumes: the last weights count as the best.")
        return lambda: dict.fromkeys(("val_dice", *(f"val_dice_{name}" for name in dataset.struct_name)), math.nan)
    if not any(volume.shows_structure for volume in val):
        logging.warning(
            "No structure in the validation volumes %s: no Dice can choose the best weights, so the last ones count as "
            "the best. Validate on patients whose labels show structures.",
            ", ".join(volume.case.case_id for volume in val),
        )
    predict = predictor(model, dataset.mtask_bs) if isinstance(model, keras.Model) else model
    if isinstance(model, keras.Model):  # sees slices one by one
        val = [volume.annotated_part() for volume in val]

    def validate() -> dict[str, float]:
        items = ((volume, volume.native_label) for volume in val)
        return validation.validate(items, predict, dataset=dataset, **how)

    return validate


def evaluate_run(
    trainer: Trainer,
    model: keras.Model,
    dataset: datasets.DatasetConfig,
    test: cache.PreparedSet,
    *,
    network: keras.Model | None = None,
    role: str = "test",
    mirroring: bool = False,
) -> dict[str, float]:
    """Evaluates the best checkpoint (with saved predictions) and the last weights (scores only) on the test volumes.

    Args:
        trainer: Has trained; its run gets the scores.
        model: What the saved weights belong to.
        network: The part of `model` that predicts, image -> logits, if that is not all of it.
        mirroring: Test on the mean over flipped slices, too, see `ensemble`.
        role: "val" if the volumes are those of validation, for want of test volumes; they go to `eval/val`.

    Returns:
        "test_dice" and "test_dice_last", means over volumes of the mean foreground Dice; {} of validation volumes.

    Raises:
        DataError: weights are missing, damaged, or not those that this training wrote.
    """
    results, place = {}, trainer.run.eval / role if role != "test" else trainer.run.eval
    for name, key, folder in ((LAST, "test_dice_last", place / "last"), (BEST, "test_dice", place)):
        weights, record = trainer.load(name)
        models.set_weights(model, weights)
        scores = volumes.evaluate_cases(
            ((volume, volume.native) for volume in test),
            ensemble([predictor(network or model, dataset.mtask_bs)], mirroring=mirroring),
            dataset=dataset,
            out_dir=folder,
            save_predictions=name == BEST,
            progress=_log_score if name == BEST else None,
        )
        results[key] = mean_foreground_dice(scores)
        title = {LAST: "Last weights", BEST: "Best checkpoint"}[name]
        words = {"test": "test", "val": "validation"}[role]
        logging.info("%s (step %s): mean %s Dice %.4f", title, record["step"], words, results[key])
    return results if role == "test" else {}


def _log_score(score: VolumeScore) -> None:
    logging.info("Volume %s: mean Dice %.3f", score.case_id, score.mean_dice)
