"""Scores of a network during training (validation volumes) and after it (test volumes)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

from fewslice.core.done import BEST, LAST, TESTED, TESTED_LAST
from fewslice.core.run import Run
from fewslice.data import cache
from fewslice.evaluate import validation, volumes
from fewslice.evaluate.scores import VolumeScore
from fewslice.evaluate.summary import mean_foreground_dice
from fewslice.settings import datasets
from fewslice.train.predict import ensemble, predictor


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
    run: Run,
    load: Callable[[str], int],
    network: keras.Model,
    dataset: datasets.DatasetConfig,
    test: cache.PreparedSet,
    *,
    role: str = "test",
    mirroring: bool = False,
) -> dict[str, float]:
    """Evaluates the best checkpoint (with saved predictions) and the last weights (scores only) on the test volumes.

    Where the best step is the last one, these are the same weights and are tested once.

    Args:
        run: Trained; it gets the scores.
        load: Gives `network` the weights `BEST` or `LAST` of the run, and returns their step.
        network: Image -> logits.
        mirroring: Test on the mean over flipped slices, too, see `ensemble`.
        role: "val" if the volumes are those of validation, for want of test volumes; they go to `eval/val`.

    Returns:
        "test_dice" and "test_dice_last", means over volumes of the mean foreground Dice; {} of validation volumes.

    Raises:
        DataError: weights are missing, damaged, or not those that this training wrote.
    """
    results, best, place = {}, None, run.eval / role if role != "test" else run.eval
    for name, key, folder in ((BEST, TESTED, place), (LAST, TESTED_LAST, place / "last")):
        step = load(name)
        if step == best:
            results[key] = results[TESTED]
            shutil.rmtree(folder, ignore_errors=True)  # of a shorter training
            break
        best = step
        scores = volumes.evaluate_cases(
            ((volume, volume.native) for volume in test),
            ensemble([predictor(network, dataset.mtask_bs)], mirroring=mirroring),
            dataset=dataset,
            out_dir=folder,
            save_predictions=name == BEST,
            progress=_log_score if name == BEST else None,
        )
        results[key] = mean_foreground_dice(scores)
        title = {LAST: "Last weights", BEST: "Best checkpoint"}[name]
        words = {"test": "test", "val": "validation"}[role]
        logging.info("%s (step %s): mean %s Dice %.4f", title, step, words, results[key])
    return results if role == "test" else {}


def _log_score(score: VolumeScore) -> None:
    logging.info("Volume %s: mean Dice %.3f", score.case_id, score.mean_dice)
