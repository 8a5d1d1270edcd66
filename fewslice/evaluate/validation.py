"""Validation during training: scores of the validation volumes, and which step was the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fewslice.errors import ConfigError
from fewslice.evaluate.summary import mean_foreground_dice, statistics
from fewslice.evaluate.volumes import Predict, VolumeScore, predict_volume, score_volume

if TYPE_CHECKING:
    from fewslice.config import DatasetConfig
    from fewslice.data.cache import PreparedVolume

__all__ = ["BestTracker", "ValidationResult", "dice_loss_per_slice", "mean_foreground_dice", "validate"]

MINIMUM_IMPROVEMENT = 1e-7


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """What one validation found.

    Attributes:
        mean_dice: Mean over volumes of the mean foreground Dice on the original grid; NaN if nothing is
            defined.
        per_structure: (K - 1,) float64 mean Dice of each structure over volumes, NaN where never defined.
        dice_loss: Mean over all slices of the Dice loss with background, on the network's grid.
        scores: The volumes' scores, without surface distances.
    """

    mean_dice: float
    per_structure: np.ndarray
    dice_loss: float
    scores: tuple[VolumeScore, ...]


def validate(
    items: Iterable[tuple[PreparedVolume, np.ndarray]], predict: Predict, *, dataset: DatasetConfig
) -> ValidationResult:
    """Scores the validation volumes.

    Args:
        items: Pairs of a prepared volume with its label, and the native label (X, Y, Z).
        predict: (Z, NX, NY, 1) float32 -> class probabilities (Z, NX, NY, K).
        dataset: The dataset's settings.

    Raises:
        ConfigError: there is no volume.
        TrainingError: the network's output is not a number.

    Notes:
        Differs from the published code: the loss is a mean over slices (there a sum over chunks of 20,
        averaged over volumes), and classes that are absent in truth and prediction count neither as 0 nor as
        1.
    """
    scores, losses = [], []
    for prepared, truth in items:
        probabilities, label = predict_volume(prepared, predict, dataset=dataset)
        losses.append(dice_loss_per_slice(probabilities, prepared.label))
        scores.append(
            score_volume(
                truth,
                label,
                case=prepared.case,
                spacing_mm=prepared.spacing_mm,
                num_classes=dataset.num_classes,
                surface=False,
            )
        )
    if not scores:
        raise ConfigError("There is no volume to validate on. Check the split's list of validation patients.")
    table = np.stack([score.dice[1:] for score in scores])  # (volumes, K - 1)
    return ValidationResult(
        mean_dice=mean_foreground_dice(scores),
        per_structure=np.array([statistics(column)["mean"] for column in table.T]),
        dice_loss=float(np.concatenate(losses).mean()),
        scores=tuple(scores),
    )


def dice_loss_per_slice(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns 1 - mean over all K classes of the soft Dice of each slice.

    Args:
        probabilities: (Z, NX, NY, K).
        label: (Z, NX, NY) integer classes.

    Returns:
        (Z,) float64. A class that is absent from a slice scores about 0, as in the training loss.
    """
    depth, num_classes = probabilities.shape[0], probabilities.shape[-1]
    label = np.asarray(label).reshape(depth, -1)
    maps = probabilities.reshape(depth, -1, num_classes)
    dice = np.empty((depth, num_classes))
    for index in range(num_classes):
        truth, predicted = label == index, maps[..., index]
        common = np.where(truth, predicted, 0.0).sum(axis=1, dtype=np.float64)
        sizes = predicted.sum(axis=1, dtype=np.float64) + truth.sum(axis=1)
        dice[:, index] = 2.0 * common / (sizes + 1e-10)
    return 1.0 - dice.mean(axis=1)


class BestTracker:
    """Remembers the best value of a run and where it was reached; equal after a resume.

    The first value that is a number always counts; a later one must exceed the best by more than 1e-7. NaN
    never does. Best and last are kept apart: `last_step` moves with every update.

    Example:
        >>> tracker = BestTracker()
        >>> [tracker.update(step, value) for step, value in ((0, 0.0), (50, 0.3), (100, 0.3))]
        [True, True, False]
        >>> tracker.best, tracker.best_step, tracker.last_step
        (0.3, 50, 100)
    """

    def __init__(self):
        self.best = -math.inf
        self.best_step = -1
        self.last_step = -1

    def update(self, step: int, value: float) -> bool:
        """Takes the value of a step and returns whether it is the new best (then save the best weights)."""
        self.last_step = int(step)
        value = float(value)
        if not (value - self.best > MINIMUM_IMPROVEMENT):
            return False
        self.best, self.best_step = value, int(step)
        return True

    def state(self) -> dict[str, Any]:
        """Returns all that a resumed run needs, as plain numbers; `best` is -inf before the first number."""
        return {"best": self.best, "best_step": self.best_step, "last_step": self.last_step}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores `state()`; null (the JSON form of -inf) means that nothing was seen."""
        best = state["best"]
        self.best = -math.inf if best is None else float(best)
        self.best_step, self.last_step = int(state["best_step"]), int(state["last_step"])


def log_values(result: ValidationResult, struct_name: Sequence[str]) -> dict[str, float]:
    """Returns the result as columns for a training log: val_dice, val_dice_<structure>, val_dice_loss."""
    names = [f"val_dice_{name}" for name in struct_name]
    per_structure = dict(zip(names, result.per_structure.tolist(), strict=True))
    return {"val_dice": result.mean_dice, **per_structure, "val_dice_loss": result.dice_loss}
