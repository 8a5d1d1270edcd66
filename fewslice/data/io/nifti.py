"""Reads NIfTI files strictly and writes them atomically.

The usual readers return the voxels of a truncated or damaged file without a word. Here a file is read to its
last byte, the gzip checksum included, and the header's claims are checked before memory is taken.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from fewslice.core.errors import DataError
from fewslice.core.files import atomic_path
from fewslice.data.io import nifti_stream
from fewslice.data.io.nifti_stream import Header

if TYPE_CHECKING:
    from fewslice.data.volume import Volume

INTEGER_TOLERANCE = 1e-3  # labels stored as floats may differ by this much from an integer


@dataclass(frozen=True, eq=False)
class NiftiImage:
    """One 3-D image of a NIfTI file.

    Attributes:
        path: The file.
        array: (X, Y, Z) float32 intensities; int32 codes if read as labels.
        spacing_mm: Size of a voxel along x, y and z, from the header's pixdim (`get_zooms()`), never from the
            affine: ACDC's affines have unit scale.
        affine: (4, 4) float64, as the file says.
        header: The file's header, NIfTI-1 or NIfTI-2.
    """

    path: Path
    array: np.ndarray
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    header: Header


def read_nifti(path: str | Path, *, channel: int = 0, is_label: bool = False) -> NiftiImage:
    """Reads one 3-D image and checks everything that can be checked without knowing what it shows.

    Args:
        path: A .nii or .nii.gz file with 2 to 4 axes; further axes of length one are dropped.
        channel: Which image of a 4-D file.
        is_label: Return integers; values farther than 1e-3 from an integer are an error.

    Returns:
        The image. A 2-D file becomes a volume of one slice.

    Raises:
        DataError: missing, empty, truncated or damaged file, wrong format, a header that cannot be true, NaN
            or infinite voxels, labels that are no integers.
    """
    path = Path(path)
    header, content = nifti_stream.read(path)
    volumes = _as_volumes(path, header, content)  # (X, Y, Z, C)
    if is_label and volumes.shape[3] != 1:
        raise DataError(
            path,
            expected="a label with one value per voxel",
            found=f"a 4-D file with {volumes.shape[3]} values per voxel",
            remedy="Store one integer class per voxel in a 3-D file.",
        )
    if not 0 <= channel < volumes.shape[3]:
        raise DataError(
            path,
            expected=f"an image with channel {channel} (`image_channel`)",
            found=f"{volumes.shape[3]} channel(s), counted from 0",
            remedy=f"Set `image_channel` to 0 ... {volumes.shape[3] - 1}, or remove this file.",
        )
    values = _scaled(path, header, volumes[..., channel])
    _check_finite(path, values)
    array = _as_integers(path, values) if is_label else _as_float32(path, values)
    return NiftiImage(path, array, nifti_stream.spacing_mm(path, header), nifti_stream.affine(path, header), header)


def header_from(block: bytes) -> Header:
    """Returns the header that `header.binaryblock` holds, in its byte order."""
    return (nib.Nifti2Header if len(block) == nib.Nifti2Header.sizeof_hdr else nib.Nifti1Header)(block, check=False)


def _as_volumes(path: Path, header: Header, content: np.ndarray) -> np.ndarray:
    """Returns the raw voxels as (X, Y, Z, C), C images one after the other."""
    shape = list(header.get_data_shape())
    extra = [size for size in shape[3:] if size > 1]
    if len(extra) > 1:
        raise DataError(
            path,
            expected="3-D, or 4-D with one axis of channels",
            found=f"shape {tuple(shape)}",
            remedy="Split the file into 3-D images.",
        )
    shape = (shape[:3] + [1, 1])[:3] + (extra or [1])
    return content.view(header.get_data_dtype()).reshape(shape, order="F")


def _scaled(path: Path, header: Header, raw: np.ndarray) -> np.ndarray:
    stored = [float(header["scl_slope"]), float(header["scl_inter"])]
    try:
        slope, intercept = header.get_slope_inter()
        is_finite = not np.isinf(stored).any()
    except nib.spatialimages.HeaderDataError:
        is_finite = False
    if not is_finite:
        raise DataError(
            path,
            expected="finite scl_slope and scl_inter",
            found=f"scl_slope = {stored[0]}, scl_inter = {stored[1]}",
            remedy="The header is damaged. Get a fresh copy of the file.",
        )
    if slope in (None, 1.0) and intercept in (None, 0.0):
        return raw
    with np.errstate(over="ignore"):
        return raw * float(slope) + float(intercept or 0.0)


def _check_finite(path: Path, values: np.ndarray) -> None:
    if values.dtype.kind != "f":
        return
    not_a_number = int(np.isnan(values).sum())
    infinite = int(np.isinf(values).sum())
    if not_a_number or infinite:
        raise DataError(
            path,
            expected="finite voxel values",
            found=f"{not_a_number} NaN and {infinite} infinite of {values.size} voxels",
            remedy="Replace them at the source (for instance by the background value) or leave the case out.",
        )


def _as_float32(path: Path, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(values, dtype=np.float32)
    if values.dtype.itemsize > 4 and not np.isfinite(array).all():
        raise DataError(
            path,
            expected="voxel values within the range of float32",
            found=f"values from {values.min():g} to {values.max():g}",
            remedy="The file is probably damaged. Get a fresh copy, or rescale it.",
        )
    return array


def _as_integers(path: Path, values: np.ndarray) -> np.ndarray:
    rounded = np.rint(values)
    wrong = np.abs(values - rounded) > INTEGER_TOLERANCE if values.dtype.kind == "f" else np.zeros(1, bool)
    if wrong.any():
        examples = ", ".join(f"{value:g}" for value in np.unique(values[wrong])[:5])
        raise DataError(
            path,
            expected=f"integer labels (within {INTEGER_TOLERANCE:g})",
            found=f"{int(wrong.sum())} of {values.size} voxels in between, such as {examples}",
            remedy="An image, or a label resampled with interpolation? Resample labels by nearest neighbour.",
        )
    limits = np.iinfo(np.int32)
    if float(rounded.min()) < limits.min or float(rounded.max()) > limits.max:
        raise DataError(
            path,
            expected="labels that fit 32 bits",
            found=f"values from {rounded.min()} to {rounded.max()}",
            remedy="This is no label file, or it is damaged.",
        )
    return np.ascontiguousarray(rounded, dtype=np.int32)


def write_nifti(
    path: str | Path,
    array: np.ndarray,
    *,
    like: NiftiImage | Volume | None = None,
    affine: np.ndarray | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> None:
    """Writes a 3-D array as .nii.gz, atomically and byte for byte reproducible (no time in the gzip header).

    Args:
        path: Target; its name ends with .nii.gz.
        array: (X, Y, Z), a numeric type that NIfTI knows; bool is stored as uint8.
        like: The image or volume whose zooms, units, affine and qform/sform codes the file gets; of one without a
            header (another format) zooms and affine.
        affine: (4, 4), replaces the affine of `like`.
        spacing_mm: Size of a voxel, replaces that of `like`.

    Raises:
        RuntimeError: an array or name that cannot be written, or too little to make a header from.
        FewSliceError: the file system refuses.
    """
    path, array = Path(path), np.asarray(array)
    if not path.name.lower().endswith(".nii.gz"):
        raise RuntimeError(f"The name of a written NIfTI must end with .nii.gz. Received: {path.name}")
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise RuntimeError(f"Expected a 3-D numeric array. Received: shape {array.shape}, {array.dtype}")
    array = array.astype(np.uint8) if array.dtype.kind == "b" else array
    if like is not None and like.header is None:
        affine, spacing_mm, like = like.affine, like.spacing_mm, None
    header = _new_header(array, like, affine, spacing_mm)
    content = header.binaryblock + bytes(4) + array.astype(header.get_data_dtype(), copy=False).tobytes(order="F")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as stream:
            stream.write(content)


def _new_header(
    array: np.ndarray, like: NiftiImage | Volume | None, affine: np.ndarray | None, spacing_mm: Sequence[float] | None
) -> Header:
    if like is None and (affine is None or spacing_mm is None):
        raise RuntimeError("write_nifti needs `like`, or both `affine` and `spacing_mm`.")
    header = nib.Nifti1Header() if like is None else like.header.copy()
    if like is None:
        header.set_xyzt_units("mm")
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1.0, 0.0)
    header["cal_min"], header["cal_max"] = 0.0, 0.0
    header["magic"] = b"n+1" if header.sizeof_hdr == 348 else header["magic"]
    header["vox_offset"] = header.single_vox_offset
    spacing_mm = tuple(float(size) for size in (like.spacing_mm if spacing_mm is None else spacing_mm))
    if affine is not None:
        _set_affine(header, np.asarray(affine, np.float64), spacing_mm, is_new=like is None)
    header.set_zooms(spacing_mm)
    return header


def _set_affine(header: Header, affine: np.ndarray, spacing_mm: Sequence[float], *, is_new: bool) -> None:
    """Sets the affine in the forms that the header already uses.

    If it uses none, or if no quaternion can express the affine (scale other than the voxel size, as in ACDC),
    the affine is stored as an "aligned" sform alone.
    """
    quaternion, srow = (1, 1) if is_new else (int(header["qform_code"]), int(header["sform_code"]))
    is_scaled = np.allclose(np.linalg.norm(affine[:3, :3], axis=0), spacing_mm, rtol=1e-3)
    if not is_scaled or quaternion == srow == 0:
        quaternion, srow = 0, srow if srow > 1 else 2
    header.set_qform(affine if quaternion else None, code=quaternion, strip_shears=True)
    header.set_sform(affine if srow else None, code=srow)
