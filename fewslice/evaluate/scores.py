"""The scores of one volume on its original grid, class by class.

A metric that is undefined (a structure that is absent) is NaN, with a note; no mean counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fewslice.evaluate import metrics
from fewslice.evaluate.objects import METRICS

if TYPE_CHECKING:
    from fewslice.data.volume import Case


_ABSENT = "absent in "


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
        nsd: (K - 1,) float64 normalised surface Dice, NaN as above.
        notes: (K - 1) texts: "", "absent in truth", "absent in prediction" or "absent in truth and
            prediction"; of a volume that is not annotated everywhere also in how many slices it is.
        further: Name -> (K - 1,) values of the dataset's `metrics`, see `metrics.METRICS`.
    """

    case_id: str
    patient_id: str
    phase: str
    dice: np.ndarray
    hd95_mm: np.ndarray
    hd95_voxels: np.ndarray
    assd_mm: np.ndarray
    nsd: np.ndarray
    notes: tuple[str, ...]
    further: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def absent(self) -> tuple[str, ...]:
        """The parts of `notes` on structures that are absent, "" for others."""
        return tuple(note.partition(";")[0] * note.startswith(_ABSENT) for note in self.notes)

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the foreground classes that are not NaN."""
        return metrics.mean_foreground(self.dice)

    def rows(self, struct_name: tuple[str, ...]) -> list[dict]:
        """Returns the rows of per_volume.csv: one per structure and metric."""
        head = {"case_id": self.case_id, "patient_id": self.patient_id, "phase": self.phase}
        table = {"dice": self.dice[1:], "hd95_mm": self.hd95_mm, "assd_mm": self.assd_mm}
        table |= {"hd95_voxels": self.hd95_voxels, "nsd": self.nsd, **self.further}
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
    tolerance_mm: float = 2.0,
    instances: np.ndarray | None = None,
    further: Sequence[str] = (),
) -> VolumeScore:
    """Compares two labels on the original grid.

    Args:
        truth: (X, Y, Z) integer, classes 0 ... num_classes - 1, num_classes where not annotated. Only annotated voxels
            count; surface distances need all of them and are NaN otherwise.
        prediction: (X, Y, Z) integer, classes.
        case: Names of the volume.
        spacing_mm: Size of a voxel along the three axes.
        num_classes: K, background included.
        surface: Also measure HD95, ASSD and NSD; they cost more than all else. Without, they are NaN.
        tolerance_mm: Of the normalised surface Dice.
        instances: (X, Y, Z) numbers of the objects of the truth, 0 outside; None: objects are its connected parts.
        further: Names of `metrics.METRICS`.
    """
    distances = np.full((4, num_classes - 1), np.nan)  # hd95_mm, hd95_voxels, assd_mm, nsd
    known, partial = truth != num_classes, ""
    if not known.all():
        partial = f"annotated in {known.any(axis=(0, 1)).sum()} of {truth.shape[2]} slices: no surface distances"
        truth, prediction, surface = truth[known], prediction[known], False
    dice, notes = metrics.dice_per_class(truth, prediction, num_classes), []
    for index in range(1, num_classes):
        pair = truth == index, prediction == index
        missing = [name for name, mask in zip(("truth", "prediction"), pair, strict=True) if not mask.any()]
        notes.append("; ".join(filter(None, [f"{_ABSENT}{' and '.join(missing)}" * bool(missing), partial])))
        if surface and not missing:
            measured = metrics.surface_distances(*pair, spacing_mm)
            found = measured.hd95(), metrics.hd95_voxels(*pair), measured.assd(), measured.nsd(tolerance_mm)
            distances[:, index - 1] = found
    values = {}
    for metric in map(METRICS.get, further):
        is_known = not (partial and metric.needs_all)
        nowhere = dict.fromkeys(metric.definitions, np.full(num_classes - 1, np.nan))
        values |= metric(truth, prediction, instances, num_classes) if is_known else nowhere
    return VolumeScore(case.case_id, case.patient_id, case.phase, dice, *distances, tuple(notes), values)
