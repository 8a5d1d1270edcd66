"""Prepared volumes as NIfTI files, for looking at them and for other programs.

<data root>/<data_path_tr_cropped>/<case id>/img_cropped.nii.gz     float32
                                             mask_cropped.nii.gz    int16
Images of several channels are one file each: img_cropped_0000.nii.gz, img_cropped_0001.nii.gz, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewslice.core.errors import ConfigError, DataError
from fewslice.core.parallel import map_threads
from fewslice.core.progress import Progress
from fewslice.data import preprocess
from fewslice.data.cache import LABEL, BuildReport, PreparedVolume, Store, build_cache
from fewslice.data.io.geometry import with_scale
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.data.readers import Reader
from fewslice.data.readers.selection import resolve_patients
from fewslice.data.volume import BY_PIXEL, Case


def cropped_geometry(
    volume: PreparedVolume, target_resolution: Sequence[float], *, affine: str = "corrected", grid: str = "resample"
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Returns the affine and the voxel size of a prepared volume with axes (x, y, z).

    Args:
        volume: The prepared volume.
        target_resolution: In-plane resolution that was asked for, mm; unused with a stretched or native grid.
        affine: "corrected": every voxel lies where its tissue lies in the native file, and the voxel size is
            what rounding to whole pixels made of the target resolution. "published": the native affine with
            its entries [0, 0] and [1, 1] replaced by the target resolution, signs kept, and its origin.
        grid: The dataset's `grid`. Of a pixels stretched to b, corners on corners, one is (a - 1) / (b - 1) as large.

    Raises:
        ConfigError: "published" for a grid without target resolution.

    Notes:
        Differs from the published code: that always writes what is called "published" here.
    """
    if affine == "published" and grid in BY_PIXEL:
        raise ConfigError('affine "published" needs the resolution of `grid = "resample"`. Use "corrected".')
    if affine == "published":
        matrix = volume.affine.copy()
        for axis in (0, 1):
            matrix[axis, axis] = target_resolution[axis] * (-1 if matrix[axis, axis] < 0 else 1)
        return matrix, (*map(float, target_resolution), volume.spacing_mm[2])
    to_native = np.eye(4)
    spacing = list(volume.spacing_mm)
    for axis, size in enumerate(volume.image.shape[1:3]):
        native = volume.native_shape[axis]
        if grid in BY_PIXEL:
            # an axis of one pixel keeps its extent
            step, first = (native - 1) / (size - 1) if min(native, size) > 1 else native / size, 0.0
        else:
            rescaled = preprocess.rescaled_size(native, volume.spacing_mm[axis] / target_resolution[axis])
            source, target = preprocess.overlap(rescaled, size)
            step = native / rescaled  # pixel c of the crop has its centre at native (c + first + 0.5) * step - 0.5
            first = (source.start - target.start + 0.5) * step - 0.5
        to_native[axis, axis], to_native[axis, 3] = step, first
        spacing[axis] *= step
    return with_scale(volume.affine, volume.spacing_mm) @ to_native, tuple(spacing)


def prepare_dataset(
    reader: Reader,
    *,
    patients: Sequence[str] = ("all",),
    affine: str | None = None,
    workers: int | None = None,
    verify: bool = False,
    progress: bool = True,
) -> BuildReport:
    """Prepares all volumes of a dataset or of some patients, with labels where there are any.

    Args:
        reader: Reads the native volumes.
        patients: ("all",), or ids of patients; all their phases are prepared.
        affine: None, or "corrected" or "published" to write NIfTI files too, see `write_cropped`.
        workers, verify, progress: As in `build_cache`.

    Raises:
        ConfigError, DataError: no or unknown patients.
        FewSliceError: the file system refuses.
    """
    cases = reader.cases()
    if list(patients) != ["all"]:
        names = resolve_patients(reader, patients)
        cases = [case for case in cases if case.patient_id in names]
    store, how = Store(reader), {"workers": workers, "verify": verify, "progress": progress}
    report = build_cache(reader, cases, with_label=None, store=store, **how)
    if affine is not None:
        folder = store.folder.parent
        good = [case for case in cases if case.case_id not in report.refused]

        def write(case: Case) -> bool:
            volume = store.open(case, frozenset({LABEL} if case.label_path is not None else ()))
            dataset = reader.dataset
            return write_cropped(folder, volume, dataset.target_resolution, affine=affine, grid=dataset.grid)

        with Progress(len(good), "Writing NIfTI", is_enabled=progress) as line:
            for index, _ in map_threads(write, good, workers=workers):
                line.update(note=good[index].case_id)
    return report


def write_cropped(
    folder: Path,
    volume: PreparedVolume,
    target_resolution: Sequence[float],
    *,
    affine: str = "corrected",
    grid: str = "resample",
) -> bool:
    """Writes img_cropped.nii.gz and, with a label, mask_cropped.nii.gz. Returns False if they are there.

    They go to a folder of the case below `folder`; the other arguments are those of `cropped_geometry`.

    Raises:
        FewSliceError: the file system refuses.
    """
    matrix, spacing_mm = cropped_geometry(volume, target_resolution, affine=affine, grid=grid)
    image = np.asarray(volume.image, np.float32)
    targets = {"img_cropped": image}
    if image.ndim == 4:
        targets = {f"img_cropped_{channel:04d}": image[..., channel] for channel in range(image.shape[-1])}
    if volume.label is not None:
        targets["mask_cropped"] = np.asarray(volume.label, np.int16)
    is_written = False
    for name, array in targets.items():
        path, array = folder / volume.case.case_id / f"{name}.nii.gz", array.transpose(1, 2, 0)
        if not _is_there(path, array, matrix, spacing_mm):
            write_nifti(path, array, affine=matrix, spacing_mm=spacing_mm)
            is_written = True
    return is_written


def _is_there(path: Path, array: np.ndarray, matrix: np.ndarray, spacing_mm: Sequence[float]) -> bool:
    try:
        image = read_nifti(path)
    except DataError:
        return False
    is_same_grid = np.allclose(image.affine, matrix, atol=1e-4) and np.allclose(image.spacing_mm, spacing_mm)
    return is_same_grid and np.array_equal(image.array, array)
