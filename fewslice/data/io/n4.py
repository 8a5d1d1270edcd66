"""N4 bias-field correction of NIfTI files: removes the slow shading that coils leave in MR images.

Reference: N. Tustison et al., N4ITK: Improved N3 Bias Correction, IEEE TMI 29(6), 2010,
https://doi.org/10.1109/TMI.2010.2046908
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.core.locks import folder_lock
from fewslice.core.parallel import default_workers
from fewslice.core.progress import Progress
from fewslice.data.cache import BuildReport
from fewslice.data.io.itk import files_of, read_image_file
from fewslice.data.io.nifti import NIFTI, write_nifti
from fewslice.data.readers.base import Reader, image_stem, visible

THRESHOLD = 0.001  # change of the field at which a level ends; published setting
ITERATIONS = (50, 50, 50, 50)  # per level of the spline grid; published setting
_SMALLEST_AXIS = 16  # samples that shrinking leaves along an axis
_LARGEST_CORRECTION = 1e3  # a field beyond this factor is a failure, not shading
_COMPANIONS = ("Info.cfg", "dataset.json")
_RECORDS = ".n4"  # folder of the records beside the corrected files


@dataclass(frozen=True)
class Job:
    """One file to correct."""

    source: Path  # native image
    target: Path  # corrected image
    record: Path  # JSON file that says what `target` was made of
    channel: int  # of a 4-D file
    shrink_factor: int  # see `n4_correct`


def n4_correct(image: np.ndarray, spacing_mm: Sequence[float], *, shrink_factor: int = 4) -> np.ndarray:
    """Divides an image by its estimated bias field.

    Args:
        image: (X, Y, Z) float32, intensities of the scanner; non-positive voxels do not count for the field.
        spacing_mm: Size of a voxel along x, y and z.
        shrink_factor: The field is estimated on every n-th voxel along each axis that keeps 16 samples, and
            applied at full size. 1 is the published setting (much slower).

    Returns:
        (X, Y, Z) float32.

    Raises:
        ValueError: the field cannot be estimated, for instance because no voxel is positive.

    Notes:
        Differs from the published code: that has no shrinking.
    """
    import SimpleITK as sitk

    if not (image > 0).any():
        raise ValueError("no positive voxel")
    flat = image.shape[2] == 1
    array = image.T[0] if flat else image.T  # SimpleITK's axes are (z, y, x)
    full = sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))
    full.SetSpacing([float(size) for size in spacing_mm[: full.GetDimension()]])
    factors = [max(1, min(shrink_factor, size // _SMALLEST_AXIS)) for size in full.GetSize()]
    small = sitk.Shrink(full, factors) if max(factors) > 1 else full
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetConvergenceThreshold(THRESHOLD)
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetNumberOfThreads(1)  # with one the result is the same on every run
    try:
        corrected = n4.Execute(small)
        if small is not full:
            corrected = full / sitk.Exp(n4.GetLogBiasFieldAsImage(full))
    except RuntimeError as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    result = sitk.GetArrayFromImage(corrected).astype(np.float32)
    result = np.ascontiguousarray((result[None] if flat else result).T)
    if not np.isfinite(result).all() or np.abs(result).max() > _LARGEST_CORRECTION * np.abs(image).max():
        raise ValueError("the estimated field is not finite or beyond reason")
    return result


def dataset_jobs(reader: Reader, output: Path, *, shrink_factor: int) -> list[Job]:
    """Returns the jobs for a dataset, and copies everything that is no image into `output`, in the same layout.

    Raises:
        ConfigError: the dataset is not in NIfTI files, or `output` is its own folder.
    """
    if reader.dataset.layout.endswith("_h5"):
        raise ConfigError(
            "N4 corrects the scanner's intensities in NIfTI files. The .h5 volumes were clipped and scaled."
        )
    _check_folders(reader.folder, output)
    images = {case.image_path for case in reader.cases()}
    labels = {file for case in reader.cases() if case.label_path for file in files_of(case.label_path)}
    for path in sorted(reader.folder.rglob("*")):
        if path in labels or (path.name in _COMPANIONS and path.is_file()):
            copy = output / path.relative_to(reader.folder)
            if not (copy.is_file() and files.sha256(path) == files.sha256(copy)):
                files.write_bytes(copy, path.read_bytes())
    return [_job(image, reader.folder, output, reader.dataset.image_channel, shrink_factor) for image in sorted(images)]


def folder_jobs(folder: Path, output: Path, *, shrink_factor: int) -> list[Job]:
    """Returns one job for each .nii and .nii.gz below `folder`.

    Raises:
        ConfigError: `output` is `folder`.
        DataError: `folder` is missing or holds no NIfTI file.
    """
    _check_folders(folder, output)
    images = [path for path in _walk(folder) if path.name.lower().endswith(NIFTI)] if folder.is_dir() else []
    if not images:
        found = "no such file in it" if folder.is_dir() else "no such folder"
        raise DataError(folder, expected="a folder of NIfTI files", found=found, remedy="Check --input.")
    return [_job(image, folder, output, 0, shrink_factor) for image in images]


def correct_files(
    jobs: Sequence[Job], output: Path, *, workers: int | None = None, progress: bool = True
) -> BuildReport:
    """Corrects files in several processes, skipping those that are done. A refused file does not stop the rest.

    `output` is locked meanwhile. By default `workers` is the number of processors.
    """
    started, report = time.monotonic(), BuildReport(output, words=("corrected", "done before"))
    with folder_lock(output / _RECORDS), Progress(len(jobs), "N4", is_enabled=progress) as line:
        for job, result in _run(jobs, max(1, min(workers or default_workers(), len(jobs)))):
            if isinstance(result, dict):
                report.refused[str(job.source)] = DataError(**result)
            else:
                (report.done if result else report.skipped).append(str(job.target))
            line.update(note=job.source.name)
    report.seconds = time.monotonic() - started
    return report


def correct_file(job: Job) -> bool | dict[str, str]:
    """Corrects one file. Returns False if it was done, and the arguments of a `DataError` if it is refused.

    (An exception with keyword-only arguments does not travel between processes.)
    """
    try:
        settings = {
            "source": "".join(files.sha256(path) for path in files_of(job.source) if path.is_file()),
            "shrink_factor": job.shrink_factor,
            "channel": job.channel,
            "threshold": THRESHOLD,
            "iterations": list(ITERATIONS),
        }
        with contextlib.suppress(FewSliceError, OSError):  # a record that is missing or damaged counts for nothing
            if files.read_json(job.record) == {**settings, "target": files.sha256(job.target)}:
                return False
        native = read_image_file(job.source, channel=job.channel)
        try:
            corrected = n4_correct(native.array, native.spacing_mm, shrink_factor=job.shrink_factor)
        except ValueError as error:
            expected, remedy = "an image whose bias field can be estimated", "Use the uncorrected image for this case."
            raise DataError(job.source, expected=expected, found=f"N4 failed: {error}", remedy=remedy) from error
        write_nifti(job.target, corrected, like=native)
        files.write_json(job.record, {**settings, "target": files.sha256(job.target)})
        return True
    except DataError as error:
        return {"path": error.path, "expected": error.expected, "found": error.found, "remedy": error.remedy}


def _run(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, bool | dict[str, str]]]:
    """Yields jobs with their results as they come. Processes, since Ctrl-C shall not wait for N4."""
    if workers == 1:
        yield from ((job, correct_file(job)) for job in jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        pending = {pool.submit(correct_file, job): job for job in jobs}
        for future in as_completed(pending):
            yield pending[future], future.result()
        pool.shutdown()
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _begin_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends this process when the parent has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _job(image: Path, folder: Path, output: Path, channel: int, shrink_factor: int) -> Job:
    relative, stem = image.relative_to(folder).parent, image_stem(image)
    if stem.endswith(f"_{channel:04d}"):  # a file per channel
        channel = 0
    record = output / _RECORDS / relative / f"{stem}.json"
    return Job(image, output / relative / f"{stem}.nii.gz", record, channel, shrink_factor)


def _check_folders(folder: Path, output: Path) -> None:
    folder, output = folder.resolve(), output.resolve()
    if output.is_relative_to(folder):
        raise ConfigError(f"The output must be a folder outside the input. Received: {output} and {folder}")


def _walk(folder: Path) -> Iterator[Path]:
    for path in visible(folder):
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
