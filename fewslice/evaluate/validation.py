"""Validation during training: scores of the validation volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.evaluate.scores import score_volume
from fewslice.evaluate.summary import mean_foreground_dice, statistics
from fewslice.evaluate.volumes import Predict, predict_volume

if TYPE_CHECKING:
    from fewslice.data.cache import PreparedVolume
    from fewslice.settings.datasets import DatasetConfig


def validate(
    items: Iterable[tuple[PreparedVolume, np.ndarray]],
    predict: Predict,
    *,
    dataset: DatasetConfig,
    confidence: float | None = None,
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> dict[str, float]:
    """Scores the validation volumes; returns columns for a training log.

    val_dice               mean over volumes of the mean foreground Dice on the original grid; NaN if no volume shows a
                           structure, since the Dice of what a network finds there would be 0 whatever it is
    val_dice_<structure>   mean Dice of a structure over volumes, NaN where never defined
    val_dice_loss          mean over all slices of the loss, on the network's grid
    val_confident          share of confident pixels among those of a structure, true or predicted; if asked for
    val_confident_right    share of these whose class is the true one; if there are any

    Args:
        items: Pairs of a prepared volume with its label, and the native label (X, Y, Z). What is not annotated
            (num_classes) counts nowhere.
        predict: (Z, NX, NY, C) float32 -> class probabilities (Z, NX, NY, K).
        confidence: Probability from which a pixel is confident; None counts none.
        loss: (Z, NX, NY, K) probabilities and (Z, NX, NY) labels -> loss of each slice; default `dice_loss_per_slice`.

    Raises:
        ConfigError: there is no volume.
        TrainingError: the network's output holds NaN or infinite values.

    Notes:
        Differs from the published code: the loss is a mean over slices (there a sum over chunks of 20,
        averaged over volumes), and classes that are absent in truth and prediction count neither as 0 nor as
        1.
    """
    scores, losses, counts, has_structure = [], [], np.zeros(3, int), False
    for prepared, truth in items:
        probabilities, label = predict_volume(prepared, predict, dataset=dataset)
        has_structure |= bool(np.any((truth > 0) & (truth < dataset.num_classes)))
        losses.append((loss or dice_loss_per_slice)(probabilities, prepared.label))
        if confidence is not None:
            counts += confident_pixels(probabilities, prepared.label, confidence)
        origin = {"case": prepared.case, "spacing_mm": prepared.spacing_mm}
        scores.append(score_volume(truth, label, **origin, num_classes=dataset.num_classes, surface=False))
    if not scores:
        raise ConfigError("There is no volume to validate on. Check the split's list of validation patients.")
    table = np.stack([score.dice[1:] for score in scores])  # (volumes, K - 1)
    result = {"val_dice": mean_foreground_dice(scores) if has_structure else math.nan}
    result |= {
        f"val_dice_{name}": statistics(dice)["mean"] for name, dice in zip(dataset.struct_name, table.T, strict=True)
    }
    result["val_dice_loss"] = float(np.concatenate(losses).mean())
    result |= {"val_confident": counts[1] / counts[0]} if counts[0] else {}
    return result | ({"val_confident_right": counts[2] / counts[1]} if counts[1] else {})


def confident_pixels(probabilities: np.ndarray, label: np.ndarray, confidence: float) -> np.ndarray:
    """Returns (3,) int64: pixels of a structure, true or predicted; confident ones; right ones among these.

    A measure of how far a network's own predictions can teach it: confident wrong ones teach the wrong thing.

    Args:
        probabilities: (..., K).
        label: (...) integer classes, K = not annotated.
        confidence: Probability from which a pixel is confident.
    """
    predicted, truth = probabilities.argmax(axis=-1), np.asarray(label)
    counted = ((predicted > 0) | (truth > 0)) & (truth < probabilities.shape[-1])
    confident = counted & (probabilities.max(axis=-1) >= confidence)
    return np.array([counted.sum(), confident.sum(), (predicted == truth)[confident].sum()])


def dice_loss_per_slice(probabilities: np.ndarray, label: np.ndarray, *, pooled: bool = False) -> np.ndarray:
    """Returns 1 - mean over all K classes of the soft Dice of each slice.

    Args:
        probabilities: (Z, NX, NY, K).
        label: (Z, NX, NY) integer classes, K = not annotated.
        pooled: Whether sums go over the classes too, as in `losses.PooledDice`.

    Returns:
        (Z',) float64 of the slices in which something is annotated, over these pixels. A class that is absent from a
        slice scores about 0, as in the training loss.
    """
    num_classes = probabilities.shape[-1]
    is_annotated = (label < num_classes).any(axis=(1, 2))
    label, depth = np.asarray(label)[is_annotated], int(is_annotated.sum())
    label, maps = label.reshape(depth, -1), probabilities[is_annotated].reshape(depth, -1, num_classes)
    if (label == num_classes).any():
        maps = np.where(label[..., np.newaxis] < num_classes, maps, 0)
    common, sizes = np.empty((2, depth, num_classes))
    for index in range(num_classes):
        truth, predicted = label == index, maps[..., index]
        common[:, index] = np.where(truth, predicted, 0.0).sum(axis=1, dtype=np.float64)
        sizes[:, index] = predicted.sum(axis=1, dtype=np.float64) + truth.sum(axis=1)
    if pooled:
        common, sizes = (each.sum(axis=1, keepdims=True) for each in (common, sizes))
    return 1.0 - (2.0 * common / (sizes + 1e-10)).mean(axis=1)
