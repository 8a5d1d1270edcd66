"""Scores volumes on their original grid, class by class, and writes the `eval/` folder of a run.

Prediction enters as a callable, so nothing here knows about networks. A metric that is undefined (a structure
that is absent) is NaN in arrays, an empty cell in tables and null in JSON, with a note; no mean counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fewslice.core import files
from fewslice.core.errors import ConfigError, TrainingError
from fewslice.core.registry import unknown_name
from fewslice.data.volume import label_from_grid, with_channel_axis
from fewslice.evaluate import metrics
from fewslice.evaluate.summary import summarise

if TYPE_CHECKING:
    from fewslice.data.cache import PreparedVolume
    from fewslice.data.volume import Case, Volume
    from fewslice.settings.datasets import DatasetConfig

COLUMNS = ("case_id", "patient_id", "phase", "structure", "metric", "value", "note")
POSTPROCESS = ("none", "largest_component")
ABSENT = ("nan", "published")
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class VolumeScore:
    """All numbers of one volume. Structures are the foreground classes, in the order of `struct_name`.

    Attributes:
        case_id: Name of the volume.
        patient_id: Name of its patient.
        phase: "ED", "ES" or "".
        dice: (K,) float64, background first; NaN where a class occurs in neither truth nor prediction.
        hd95_mm: (K - 1,) float64, NaN where a structure is missing in either.
        hd95_voxels: (K - 1,) float64 of the pooled distances in voxels (`metrics.hd95_voxels`), NaN as above.
        assd_mm: (K - 1,) float64, NaN as above.
        notes: (K - 1) texts: "", "absent in truth", "absent in prediction" or "absent in truth and
            prediction".
    """

    case_id: str
    patient_id: str
    phase: str
    dice: np.ndarray
    hd95_mm: np.ndarray
    hd95_voxels: np.ndarray
    assd_mm: np.ndarray
    notes: tuple[str, ...]

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the foreground classes that are not NaN."""
        return metrics.mean_foreground(self.dice)

    def rows(self, struct_name: tuple[str, ...]) -> list[dict]:
        """Returns the rows of per_volume.csv: one per structure and metric."""
        head = {"case_id": self.case_id, "patient_id": self.patient_id, "phase": self.phase}
        table = {"dice": self.dice[1:], "hd95_mm": self.hd95_mm, "assd_mm": self.assd_mm}
        table["hd95_voxels"] = self.hd95_voxels
        return [
            {**head, "structure": structure, "metric": metric, "value": float(values[index]), "note": note}
            for index, (structure, note) in enumerate(zip(struct_name, self.notes, strict=True))
            for metric, values in table.items()
        ]


def score_volume(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    case: Case,
    spacing_mm: Sequence[float],
    num_classes: int,
    surface: bool = True,
    absent: str = "nan",
) -> VolumeScore:
    """Compares two labels on the original grid.

    Args:
        truth: (X, Y, Z) integer, classes 0 ... num_classes - 1.
        prediction: The same.
        case: Names of the volume.
        spacing_mm: Size of a voxel along the three axes.
        num_classes: K, background included.
        surface: Also measure HD95 and ASSD; they cost more than all else. Without, they are NaN.
        absent: "nan": what is undefined is NaN. "published": as in CoreCLR's evaluation Dice and HD95 in voxels of a
            structure are 0 where the prediction has none of it, or all or none of the truth is it.

    Raises:
        ConfigError: unknown `absent`.
    """
    if absent not in ABSENT:
        raise ConfigError(unknown_name("absent", absent, ABSENT))
    distances = np.full((3, num_classes - 1), np.nan)  # hd95_mm, hd95_voxels, assd_mm
    dice, notes = metrics.dice_per_class(truth, prediction, num_classes), []
    for index in range(1, num_classes):
        pair = truth == index, prediction == index
        missing = [name for name, mask in zip(("truth", "prediction"), pair, strict=True) if not mask.any()]
        notes.append(f"absent in {' and '.join(missing)}" if missing else "")
        if surface and not missing:
            measured = metrics.surface_distances(*pair, spacing_mm)
            distances[:, index - 1] = measured.hd95(), metrics.hd95_voxels(*pair), measured.assd()
        if absent == "published" and (missing or pair[0].all()):
            dice[index] = distances[1, index - 1] = 0.0
    return VolumeScore(case.case_id, case.patient_id, case.phase, dice, *distances, tuple(notes))


def predict_volume(
    prepared: PreparedVolume, predict: Predict, *, dataset: DatasetConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts one volume on the network's grid and on the original one.

    Args:
        prepared: The volume on the network's grid; its case, spacing and native shape.
        predict: (Z, NX, NY, C) float32 -> class probabilities (Z, NX, NY, K).
        dataset: `num_classes`, `grid`, `target_resolution` and `anti_aliasing` are read.

    Returns:
        Probabilities (Z, NX, NY, K), and the label (X, Y, Z) uint8.

    Raises:
        RuntimeError: the prediction has the wrong shape.
        TrainingError: the prediction holds NaN or infinite values.
    """
    image = with_channel_axis(np.asarray(prepared.image, np.float32))
    probabilities = np.asarray(predict(image))
    expected = (*image.shape[:3], dataset.num_classes)
    if probabilities.shape != expected:
        raise RuntimeError(f"`predict` must return shape {expected}. Received: {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            f"The network's output for volume {prepared.case.case_id} holds NaN or infinite values. "
            "Its weights are unusable; lower the learning rate or choose an earlier checkpoint."
        )
    return probabilities, label_from_grid(probabilities, prepared.native_shape, prepared.spacing_mm, dataset)


def evaluate_cases(
    items: Iterable[tuple[PreparedVolume, Volume]],
    predict: Predict,
    *,
    dataset: DatasetConfig,
    out_dir: str | Path,
    postprocess: str = "none",
    save_predictions: bool = True,
    progress: Callable[[VolumeScore], None] | None = None,
) -> list[VolumeScore]:
    """Predicts, scores and saves every volume, and writes `per_volume.csv` and `summary.json`.

    Args:
        items: Pairs of the prepared and the native volume, drawn one by one; each native volume has a label
            (`PreparedVolume.native` is enough).
        predict: (Z, NX, NY, C) float32 -> class probabilities (Z, NX, NY, K).
        dataset: The dataset's settings.
        out_dir: The `eval` folder; predictions/<case_id>.nii.gz are uint8 with the header of the scan.
        postprocess: "none", or "largest_component" (see `metrics.largest_components`).
        save_predictions: Whether to write the NIfTI files.
        progress: Called with every score.

    Returns:
        The scores, in order.

    Raises:
        ConfigError: unknown `postprocess`, or no volume at all.
        RuntimeError: a volume occurs twice or comes without a label.
        TrainingError: the network's output is not a number.
    """
    if postprocess not in POSTPROCESS:
        raise ConfigError(unknown_name("postprocess", postprocess, POSTPROCESS))
    scores: list[VolumeScore] = []
    for prepared, native in items:
        case_id = native.case.case_id
        if native.label is None or case_id in {score.case_id for score in scores}:
            raise RuntimeError(f"Volumes to evaluate must be distinct and labelled. Received: {case_id}")
        _, label = predict_volume(prepared, predict, dataset=dataset)
        if postprocess == "largest_component":
            label = metrics.largest_components(label)
        if save_predictions:
            _save_prediction(Path(out_dir) / "predictions" / f"{case_id}.nii.gz", label, native)
        names = {"case": native.case, "spacing_mm": native.spacing_mm}
        scores.append(score_volume(native.label, label, **names, num_classes=dataset.num_classes))
        if progress is not None:
            progress(scores[-1])
    if not scores:
        raise ConfigError("There is no volume to evaluate. Check the split's test patients and the phases.")
    _write_tables(scores, dataset, out_dir=Path(out_dir), postprocess=postprocess)
    return scores


def _write_tables(scores: Sequence[VolumeScore], dataset: DatasetConfig, *, out_dir: Path, postprocess: str) -> None:
    rows = [row for score in scores for row in score.rows(dataset.struct_name)]
    files.write_csv(out_dir / "per_volume.csv", rows, COLUMNS)
    summary = {"dataset": dataset.name, "postprocess": postprocess, **summarise(scores, dataset.struct_name)}
    files.write_json(out_dir / "summary.json", summary)


def _save_prediction(path: Path, label: np.ndarray, native: Volume) -> None:
    from fewslice.data.io.nifti import write_nifti  # nibabel is slow to import and validation never writes

    write_nifti(path, label, like=native)
