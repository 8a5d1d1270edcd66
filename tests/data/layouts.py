"""Tiny datasets in every layout, written with nibabel and h5py alone, not with the code under test."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from fewslice.settings.datasets import DatasetConfig, load_dataset_config
from tests.golden_files import REPOSITORY

SHARED_DATA = Path(os.environ.get("FEWSLICE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
SHAPE = (14, 12, 3)
SPACING = (1.5, 1.25, 8.0)
AFFINE = np.diag([-1.5, -1.25, 8.0, 1.0])


def dataset(layout: str, folder: str = "scans", **changes) -> DatasetConfig:
    """Returns settings of a small dataset of four classes in `layout`."""
    values = {
        "layout": layout,
        "data_path_tr": folder,
        "data_path_tr_cropped": "cropped",
        "img_size_x": 32,
        "img_size_y": 32,
        "target_resolution": (1.5, 1.5),
        "how_to_get": "Ask the archive.",
        "scribbles": "file",
        **changes,
    }
    phases = {} if layout.startswith("acdc") else {"phases": ("",), "unlabeled_phases": ("",)}
    return dataclasses.replace(load_dataset_config("acdc"), **{**phases, **values})


def image(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def label(seed: int = 0, shape: tuple[int, ...] = SHAPE, codes: tuple[int, ...] = (0, 1, 2, 3)) -> np.ndarray:
    return np.random.default_rng(100 + seed).choice(codes, shape).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, zooms: tuple[float, ...] = SPACING) -> Path:
    """Writes a NIfTI file with nibabel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = nib.Nifti1Image(array, affine)
    picture.header.set_zooms((*zooms, *[1.0] * 4)[: array.ndim])
    nib.save(picture, path)
    return path


def acdc(root: Path, patients: dict[str, tuple[int, int]], *, info: bool = True) -> Path:
    """Writes patient folders: id -> (frame of ED, frame of ES). The seed of a volume is patient * 10 + (ES)."""
    for patient, frames in patients.items():
        folder = root / "scans" / f"patient{patient}"
        for is_es, frame in enumerate(frames):
            seed = int(patient) * 10 + is_es
            save(folder / f"patient{patient}_frame{frame:02d}.nii.gz", image(seed))
            save(folder / f"patient{patient}_frame{frame:02d}_gt.nii.gz", label(seed))
        if info:
            (folder / "Info.cfg").write_text(f"ED: {frames[0]}\nES: {frames[1]}\nGroup: NOR\n")
    return root / "scans"


def msd(root: Path, stems: tuple[str, ...], *, suffix: str = "", labels: dict | None = None) -> Path:
    """Writes imagesTr, labelsTr and dataset.json; `suffix` "_0000" makes it nnU-Net's naming."""
    folder = root / "scans"
    for number, stem in enumerate(stems):
        save(folder / "imagesTr" / f"{stem}{suffix}.nii.gz", image(number))
        save(folder / "labelsTr" / f"{stem}.nii.gz", label(number))
    labels = labels if labels is not None else {"0": "background", "1": "rv", "2": "myo", "3": "lv"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "numTraining": len(stems)}))
    return folder


def h5(root: Path, volumes: dict[str, str], *, scribble: bool = True) -> Path:
    """Writes .h5 volumes and the spacing table: volume name -> phase."""
    import h5py

    folder = root / "scans"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(volumes):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("image", data=image(seed).T.astype(np.float32), compression="gzip")
            file.create_dataset("label", data=label(seed).T.astype(np.uint8), compression="gzip")
            if scribble:
                file.create_dataset("scribble", data=label(seed, codes=(0, 3, 4)).T.astype(np.uint16))
    with open(root / "spacing.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["volume", "patient", "phase", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm"])
        writer.writerows([name, name.split("_")[0], phase, *SPACING] for name, phase in volumes.items())
    return folder
