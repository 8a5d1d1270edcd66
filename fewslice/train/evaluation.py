"""Scores of a network during training (validation volumes) and after it (test volumes)."""

from __future__ import annotations

from collections.abc import Callable

import keras
from absl import logging

import models
from fewslice.core.done import BEST, LAST
from fewslice.data import cache
from fewslice.evaluate import validation, volumes
from fewslice.evaluate.scores import VolumeScore
from fewslice.evaluate.summary import mean_foreground_dice
from fewslice.settings import datasets
from fewslice.train.predict import predictor
from fewslice.train.trainer import Trainer


def validation_of(
    dataset: datasets.DatasetConfig,
    model: keras.Model | volumes.Predict,
    val: cache.PreparedSet,
    *,
    confidence: float | None = None,
) -> Callable[[], dict[str, float]]:
    """Returns the function that scores a network on the validation volumes.

    Args:
        model: The network, slice -> logits; or the function (slices, rows, columns, channels) -> class probabilities.
    """
    if not any(volume.native_label.any() for volume in val):
        logging.warning(
            "No structure in the validation volumes %s: no Dice can choose the best weights, so the last ones count as "
            "the best. Validate on patients whose labels show structures.",
            ", ".join(volume.case.case_id for volume in val),
        )
    predict = predictor(model, dataset.mtask_bs) if isinstance(model, keras.Model) else model

    def validate() -> dict[str, float]:
        items = ((volume, volume.native_label) for volume in val)
        result = validation.validate(items, predict, dataset=dataset, confidence=confidence)
        return validation.log_values(result, dataset.struct_name)

    return validate


def evaluate_run(
    trainer: Trainer,
    model: keras.Model,
    dataset: datasets.DatasetConfig,
    test: cache.PreparedSet,
    *,
    network: keras.Model | None = None,
) -> dict[str, float]:
    """Evaluates the best checkpoint (with saved predictions) and the last weights (scores only) on the test volumes.

    Args:
        trainer: Has trained; its run gets the scores.
        model: What the saved weights belong to.
        network: The part of `model` that predicts, image -> logits, if that is not all of it.

    Returns:
        "test_dice" and "test_dice_last", means over volumes of the mean foreground Dice.

    Raises:
        DataError: weights are missing, damaged, or not those that this training wrote.
    """
    results, run = {}, trainer.run
    for name, key, folder in ((LAST, "test_dice_last", run.eval / "last"), (BEST, "test_dice", run.eval)):
        weights, record = trainer.load(name)
        models.set_weights(model, weights)
        scores = volumes.evaluate_cases(
            ((volume, volume.native) for volume in test),
            predictor(network or model, dataset.mtask_bs),
            dataset=dataset,
            out_dir=folder,
            save_predictions=name == BEST,
            progress=_log_score if name == BEST else None,
        )
        results[key] = mean_foreground_dice(scores)
        title = {LAST: "Last weights", BEST: "Best checkpoint"}[name]
        logging.info("%s (step %s): mean test Dice %.4f", title, record["step"], results[key])
    return results


def _log_score(score: VolumeScore) -> None:
    logging.info("Test volume %s: mean Dice %.3f", score.case_id, score.mean_dice)
