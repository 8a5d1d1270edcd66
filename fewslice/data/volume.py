"""What the library knows about one volume: where its files are (`Case`) and its voxels (`Volume`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Case:
    """One volume of a dataset, before any voxel is read.

    Attributes:
        case_id: Unique name of the volume in its dataset, for instance "002_ED".
        patient_id: Name of the patient, as in the split lists, for instance "002".
        phase: "ED" or "ES"; "" where a dataset has no phases.
        image_path: File of the image.
        label_path: File of the label, or None if the volume has none.
    """

    case_id: str
    patient_id: str
    phase: str
    image_path: Path
    label_path: Path | None


@dataclass(frozen=True, eq=False)
class Volume:
    """The voxels of one volume on the grid of its file. Axes are the file's (x, y, z); x is a slice's row.

    Attributes:
        case: Where the volume came from.
        image: (X, Y, Z) float32, the file's intensities; (X, Y, Z, C) where `num_channels` is more than 1.
        label: (X, Y, Z) uint8, classes 0 to num_classes - 1, or None if not asked for.
        scribble: (X, Y, Z) uint8, classes and num_classes = not annotated, or None if there is none or it was not
            asked for.
        spacing_mm: Size of a voxel along x, y and z.
        affine: (4, 4) float64, voxel indices to mm as the file says. Its scale is not `spacing_mm` in ACDC.
        notes: What was read differently from how it stands in the file, in words.
    """

    case: Case
    image: np.ndarray
    label: np.ndarray | None
    scribble: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    notes: tuple[str, ...] = ()


def with_channel_axis(images: np.ndarray) -> np.ndarray:
    """Returns images as networks take them, (N, H, W, C): those of one channel, (N, H, W), get the axis."""
    return images[..., np.newaxis] if images.ndim == 3 else images
