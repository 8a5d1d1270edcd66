"""Scores volumes on their original grid, class by class, and writes the `eval/` folder of a run.

Prediction enters as a callable, so nothing here knows about networks. A metric that is undefined (a structure
that is absent) is NaN in arrays, an empty cell in tables and null in JSON, with a note; no mean counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fewslice.core import files
from fewslice.core.errors import ConfigError
from fewslice.data.io.pictures import label_name, write_label
from fewslice.data.segment import Predict, predict_volume
from fewslice.evaluate.scores import VolumeScore, score_volume
from fewslice.evaluate.summary import summarise
from fewslice.settings.datasets import patient_of

if TYPE_CHECKING:
    from fewslice.data.cache import PreparedVolume
    from fewslice.data.volume import Volume
    from fewslice.settings.datasets import DatasetConfig

COLUMNS = ("case_id", "patient_id", "phase", "structure", "metric", "value", "note")


def evaluate_cases(
    items: Iterable[tuple[PreparedVolume, Volume]],
    predict: Predict,
    *,
    dataset: DatasetConfig,
    out_dir: str | Path,
    save_predictions: bool = True,
    progress: Callable[[VolumeScore], None] | None = None,
) -> list[VolumeScore]:
    """Predicts, scores and saves every volume, and writes `per_volume.csv` and `summary.json`.

    Args:
        items: Pairs of the prepared and the native volume, drawn one by one; each native volume has a label
            (`PreparedVolume.native` is enough).
        predict: (Z, NX, NY, C) float32 -> class probabilities (Z, NX, NY, K).
        out_dir: The `eval` folder; predictions/<case_id>.nii.gz (pictures: .png) are uint8 with the header of the scan.

    Returns:
        The scores, in order.

    Raises:
        ConfigError: no volume at all.
        RuntimeError: a duplicate volume, or one without a label.
        TrainingError: the network's output holds NaN or infinite values.
    """
    scores: list[VolumeScore] = []
    for prepared, native in items:
        case_id = native.case.case_id
        if native.label is None or case_id in {score.case_id for score in scores}:
            raise RuntimeError(f"Volumes to evaluate must be distinct and labelled. Received: {case_id}")
        _, label = predict_volume(prepared, predict, dataset=dataset)
        if save_predictions:
            name = label_name(case_id, native.case.image_path)
            write_label(Path(out_dir) / "predictions" / name, label, like=native)
        names = {"case": native.case, "spacing_mm": native.spacing_mm}
        names |= {"num_classes": dataset.num_classes, "tolerance_mm": dataset.surface_tolerance_mm}
        names |= {"instances": native.instances, "further": dataset.metrics}
        scores.append(score_volume(native.label, label, **names))
        if progress is not None:
            progress(scores[-1])
    if not scores:
        raise ConfigError("There is no volume to evaluate. Check the split's test patients and the phases.")
    rows = [row for score in scores for row in score.rows(dataset.struct_name)]
    files.write_csv(Path(out_dir) / "per_volume.csv", rows, COLUMNS)
    summary = {"dataset": dataset.name, "surface_tolerance_mm": dataset.surface_tolerance_mm}
    groups = {score.case_id: patient_of(score.case_id, dataset.score_groups) for score in scores}
    summary |= summarise(scores, dataset.struct_name, further=dataset.metrics, groups=groups)
    files.write_json(Path(out_dir) / "summary.json", summary)
    return scores
