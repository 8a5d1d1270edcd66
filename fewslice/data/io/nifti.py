"""Reads NIfTI files strictly and writes them atomically.

The usual readers return the voxels of a truncated or damaged file without a word. Here nothing that a header claims is
trusted: the claimed size is compared with the size of the file (a gzip stream cannot grow more than 1032-fold) before
memory is taken, and the file is read to its last byte, the gzip checksum included.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np

from fewslice.core import limits
from fewslice.core.errors import DataError
from fewslice.core.files import atomic_path, refuse_special
from fewslice.data.io.access import absence, access_error
from fewslice.data.io.geometry import STORED, Axes, has_orientation, inverse, permuted, turned

try:  # the extra `fast`: reading takes two thirds of the time or less
    from isal import igzip, isal_zlib

    _GzipFile, _DEFLATE_ERRORS = igzip.GzipFile, (zlib.error, isal_zlib.error)
except ImportError:
    _GzipFile, _DEFLATE_ERRORS = gzip.GzipFile, (zlib.error,)

Header = nib.Nifti1Header  # nib.Nifti2Header is a subclass

NIFTI = (".nii", ".nii.gz")  # endings
INTEGER_TOLERANCE = 1e-3  # labels stored as floats may differ by this much from an integer
_BLOCK = 3 << 22  # bytes read at once; a multiple of all voxel sizes
MAX_DEFLATE_RATIO = 1032  # of the deflate format
SPACING_RANGE_MM = (1e-3, 1e3)
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
_VECTOR = 1007  # intent code: the values of a voxel belong together; ITK writes colours so
_MM = 2  # code of mm in xyzt_units; 0 is "unknown"
FRESH_COPY = "Get a fresh copy of the file (interrupted download or copy, full disk), or leave the case out."


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels with their geometry.

    Attributes:
        array: (X, Y, Z) float32 intensities, of colour images (X, Y, Z, C), or int32 label codes; in any memory order.
        spacing_mm: Size of a voxel along x, y and z; of NIfTI files from the header's pixdim (`get_zooms()`), never
            from the affine: ACDC's affines have unit scale.
        affine: (4, 4) float64, voxel indices to mm, as the file says; of a file that does not, as ITK reads it.
        header: The file's header, NIfTI-1 or NIfTI-2; None for other formats.
        axes: How the array was turned against the file (`fewslice.data.io.geometry`).
        notes: Text on what was read otherwise than one would expect.
    """

    array: np.ndarray
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    header: Header | None = None
    axes: Axes = STORED
    notes: tuple[str, ...] = ()


def read_nifti(path: str | Path, *, channel: int = 0, is_label: bool = False, num_channels: int = 1) -> Grid:
    """Reads one 3-D image and checks everything that can be checked without knowing what it shows.

    Args:
        path: A .nii or .nii.gz file with 2 to 4 axes; further axes of length one are dropped. A file of shape
            (X, Y, 1, Z) is a volume of Z slices, unless `channel` asks for another of its images than the first.
        channel: Which image of a 4-D file.
        is_label: Return integers; values farther than 1e-3 from an integer are an error.
        num_channels: With 2 and more, all images of a file with so many become (X, Y, Z, C), with 3 red, green and
            blue; otherwise colours become grey.

    Returns:
        The image. A 2-D file becomes a volume of one slice.

    Raises:
        DataError: missing, empty, truncated or damaged file, wrong format, an inconsistent header, NaN
            or infinite voxels, labels that are no integers.
    """
    path = Path(path)
    header, content = _read(path, is_label=is_label)
    volumes, notes = _as_volumes(path, header, content, channel)  # (X, Y, Z, C)
    if int(header["intent_code"]) == _VECTOR and volumes.dtype == np.uint8:
        volumes = as_colours(volumes, channel, num_channels)
    values, notes = chosen(path, volumes, notes, channel=channel, is_label=is_label, num_channels=num_channels)
    array = checked(path, _scaled(path, header, values), is_label=is_label)
    return Grid(array, _spacing_mm(path, header), _affine(path, header), header, notes=notes)


def chosen(
    path: Path, volumes: np.ndarray, notes: tuple[str, ...], *, channel: int, is_label: bool, num_channels: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns one of (X, Y, Z, C) images, or all, and notes; voxels with the fields R, G, B become three or grey."""
    colours, count = "".join(volumes.dtype.names or ()), volumes.shape[3]  # RGB, RGBA
    if is_label and (colours or count != 1):
        found = f"{colours} voxels" if colours else f"a file with {count} values per voxel"
        remedy = "Store one integer class per voxel in a 3-D file."
        raise DataError(path, expected="a label with one value per voxel", found=found, remedy=remedy)
    if 1 < num_channels == count and not colours:
        return volumes, notes
    if not 0 <= channel < count:
        expected = f"an image with channel {channel} (`image_channel`)"
        remedy = f"Set `image_channel` to 0 ... {count - 1}, or remove this file."
        raise DataError(path, expected=expected, found=f"{count} channel(s), counted from 0", remedy=remedy)
    if count > 1:
        shape = " x ".join(map(str, volumes.shape))
        notes += (f"of the {count} images in a file of shape {shape} number {channel}, counted from 0, was read",)
    values = volumes[..., channel]
    if colours:
        values = np.stack([values[name] for name in "RGB"], axis=-1)
        if num_channels != 3:
            values = values @ np.array(_LUMINANCE, np.float32)
            text = "were read as grey (luminance); `num_channels = 3` keeps the colours"
            notes += (f"its voxels are {colours} and {text}",)
    return values, notes


def as_colours(volumes: np.ndarray, channel: int, num_channels: int) -> np.ndarray:
    """Returns voxels of three or four values (X, Y, Z, C) with the fields R, G, B, A; others as they are."""
    count = volumes.shape[3]
    if count not in (3, 4) or num_channels not in (1, 3) or channel:
        return volumes
    return np.ascontiguousarray(volumes).view([(name, volumes.dtype) for name in "RGBA"[:count]])


def checked(path: Path, values: np.ndarray, *, is_label: bool) -> np.ndarray:
    """Returns finite voxels as float32, or those of a label as int32; raises `DataError` for others."""
    if values.dtype.kind == "f" and not np.isfinite([values.min(), values.max()]).all():
        num_nan, num_infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        found = f"{num_nan} NaN and {num_infinite} infinite of {values.size} voxels"
        remedy = "Replace them at the source (for instance by the background value) or leave the case out."
        raise DataError(path, expected="finite voxel values", found=found, remedy=remedy)
    if is_label:
        return as_integers(path, values)
    with np.errstate(over="ignore"):
        array = np.asarray(values, np.float32)
    if values.dtype.itemsize > 4 and not np.isfinite(array).all():
        found = f"values from {values.min():g} to {values.max():g}"
        remedy = "The file is probably damaged. Get a fresh copy, or rescale it."
        raise DataError(path, expected="voxel values within the range of float32", found=found, remedy=remedy)
    return array


def header_from(block: bytes) -> Header:
    """Returns the header that `header.binaryblock` holds, in its byte order."""
    return (nib.Nifti2Header if len(block) == nib.Nifti2Header.sizeof_hdr else nib.Nifti1Header)(block, check=False)


def _read(path: Path, *, is_label: bool) -> tuple[Header, np.ndarray]:
    """Returns the checked header and all voxels in one row; of a 3-D image, small integers as scaled float32."""
    is_gzip = _check_file(path)
    with reading(path), open(path, "rb") as raw:
        stream = _GzipFile(fileobj=raw) if is_gzip else raw
        header = _read_header(path, stream)
        count = _claimed_bytes(path, header, is_gzip)
        dtype, done = _voxel_type(path, header), 0
        is_one_image = math.prod(header.get_data_shape()[3:]) == 1
        fits = not any(abs(float(header[name])) > 1e30 for name in ("scl_slope", "scl_inter"))  # scaled, into float32
        is_widened = not is_label and dtype.itemsize <= 2 and is_one_image and fits
        voxels = np.empty(count // dtype.itemsize, np.float32 if is_widened else dtype)
        for size in _blocks(_voxel_offset(path, header) - header.sizeof_hdr):  # header extensions
            stream.read(size)
        for size in _blocks(count):
            block = stream.read(size)
            if len(block) < size:
                found = f"only {done * dtype.itemsize + len(block)} bytes before the file ends"
                raise DataError(path, expected=f"{count} bytes of voxels", found=found, remedy=FRESH_COPY)
            values = np.frombuffer(block, dtype)
            voxels[done : done + len(values)] = _scaled(path, header, values) if is_widened else values
            done += len(values)
        if stream.read(1):  # reaching the end is also what compares the checksum
            for _ in range(64):  # damage inside a gzip stream can lengthen it; the checksum at its end then says so
                if not stream.read(1 << 20):
                    break
            expected = f"the file to end after the {count} bytes of voxels that its header announces"
            remedy = "Header and voxels do not belong together. " + FRESH_COPY
            raise DataError(path, expected=expected, found="further data", remedy=remedy)
    return header, voxels


def _blocks(count: int) -> Iterator[int]:
    """Yields the sizes of blocks of `count` bytes."""
    for start in range(0, count, _BLOCK):
        yield min(_BLOCK, count - start)


def _check_file(path: Path) -> bool:
    """Checks existence, size and name. Returns whether the content is gzip."""
    if not path.exists():
        found, remedy = absence(path)
        raise DataError(path, expected="a NIfTI file", found=found, remedy=remedy)
    with reading(path):
        refuse_special(path)
    name = path.name.lower()
    if path.is_dir() or not name.endswith(NIFTI):
        found = "a folder" if path.is_dir() else f"the name {path.name!r}"
        remedy = "Take the file out of its folder, or convert other formats to NIfTI first (a .hdr/.img pair too)."
        raise DataError(path, expected="a file whose name ends with .nii or .nii.gz", found=found, remedy=remedy)
    with reading(path), open(path, "rb") as file:
        start = file.read(2)
    if not start:
        raise DataError(path, expected="a NIfTI file", found="an empty file (0 bytes)", remedy=FRESH_COPY)
    is_gzip = start == b"\x1f\x8b"
    if is_gzip != name.endswith(".gz"):
        expected = f"{'plain NIfTI' if is_gzip else 'gzip data'}, as the name says"
        found = f"{'gzip data' if is_gzip else 'no gzip data'} (first bytes {start.hex(' ')})"
        ending = ".nii.gz" if is_gzip else ".nii, if it is NIfTI at all,"
        remedy = f"Rename the file to end with {ending} or get a fresh copy."
        raise DataError(path, expected=expected, found=found, remedy=remedy)
    return is_gzip


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong below the NIfTI format into one message."""
    try:
        yield
    except EOFError as error:
        found = f"the gzip stream ends too early ({path.stat().st_size} bytes in the file)"
        raise DataError(path, expected="a complete gzip stream", found=found, remedy=FRESH_COPY) from error
    except (gzip.BadGzipFile, *_DEFLATE_ERRORS) as error:
        found = f"damage ({error})"
        raise DataError(path, expected="an intact gzip stream", found=found, remedy=FRESH_COPY) from error
    except OSError as error:
        raise access_error(error, path) from error


def _read_header(path: Path, stream: BinaryIO) -> Header:
    block = stream.read(348)
    sizes = {int.from_bytes(block[:4], order): order for order in ("little", "big")}
    if 540 in sizes and len(block) == 348:
        block += stream.read(540 - 348)
    kind = nib.Nifti2Header if 540 in sizes else nib.Nifti1Header
    magic = block[4:8] if 540 in sizes else block[344:348]
    is_single_file = magic == (b"n+2\0" if 540 in sizes else b"n+1\0")
    if len(block) < kind.sizeof_hdr or not sizes.keys() & {348, 540} or not is_single_file:
        expected = "a single-file NIfTI header (348 or 540 bytes, magic 'n+1' or 'n+2')"
        found = f"{len(block)} bytes, header size {min(sizes, default=0)}, magic {magic!r}"
        remedy = "Convert the file to NIfTI (.nii.gz), or get a fresh copy if it should be one."
        raise DataError(path, expected=expected, found=found, remedy=remedy)
    order = "<" if sizes.get(kind.sizeof_hdr) == "little" else ">"
    return kind(block, endianness=order, check=False)


def _claimed_bytes(path: Path, header: Header, is_gzip: bool) -> int:
    """Returns the bytes of voxels that the header announces, after checking that they can be there."""
    dims = [int(size) for size in header["dim"]]
    if not 2 <= dims[0] <= 7 or any(size < 1 for size in dims[1 : dims[0] + 1]):
        raise _bad_header(path, "2 to 7 axes of positive length", f"dim = {dims}")
    dtype = _voxel_type(path, header)
    count = math.prod(dims[1 : dims[0] + 1]) * dtype.itemsize
    offset, on_disk = _voxel_offset(path, header), os.path.getsize(path)
    possible = on_disk * MAX_DEFLATE_RATIO if is_gzip else on_disk
    claim = f"{count} bytes of voxels (shape {tuple(dims[1 : dims[0] + 1])}, {dtype.name}) from byte {offset}"
    if count + offset > possible:
        found = f"a {'gzip ' * is_gzip}file of {on_disk} bytes, which cannot hold them"
        remedy = "The file is truncated or its header is damaged. " + FRESH_COPY
        raise DataError(path, expected=claim, found=found, remedy=remedy)
    limits.check(path, max(count, 4 * count // dtype.itemsize), claim)  # in memory they are 32 bits wide, or more
    return count


def _voxel_type(path: Path, header: Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError):
        dtype = None
    is_rgb = dtype is not None and dtype.names is not None and set("RGB") <= set(dtype.names)
    if dtype is None or not is_rgb and (dtype.kind not in "iuf" or not 1 <= dtype.itemsize <= 8):
        expected, found = "real numbers of 8 to 64 bits or RGB per voxel", f"datatype code {int(header['datatype'])}"
        if dtype is None:
            raise _bad_header(path, expected, found)
        remedy = "Convert the voxels, such as complex ones to their magnitude."
        raise DataError(path, expected=expected, found=f"{found} ({dtype.name})", remedy=remedy)
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise _bad_header(path, f"bitpix {8 * dtype.itemsize} for {dtype.name}", f"bitpix {int(header['bitpix'])}")
    return dtype


def _voxel_offset(path: Path, header: Header) -> int:
    offset = float(header["vox_offset"]) or float(header.single_vox_offset)
    if not math.isfinite(offset) or offset != int(offset) or offset < header.single_vox_offset:
        raise _bad_header(path, f"vox_offset of {header.single_vox_offset} or more", f"vox_offset = {offset}")
    return int(offset)


def _spacing_mm(path: Path, header: Header) -> tuple[float, float, float]:
    """Returns the size of a voxel from pixdim. An axis that the file lacks gets pixdim's value, or 1 mm."""
    axes = min(int(header["dim"][0]), 3)
    code = int(header["xyzt_units"]) & 7
    if code not in (0, _MM):
        remedy = "Convert pixdim and the affine to mm, and set xyzt_units to mm."
        found = {1: "metre", 3: "micron"}.get(code, f"unit code {code}")
        raise DataError(path, expected="spatial units of mm", found=found, remedy=remedy)
    low, high = SPACING_RANGE_MM
    spacing = [float(size) for size in header.get_zooms()[:axes]]
    if not all(low <= size <= high for size in spacing):
        is_signed = all(low <= abs(size) <= high for size in spacing)  # Analyze mirrors by a sign; programs disagree
        hint = "nibabel.save(nibabel.load(file), file) drops the signs; see then whether the scan is mirrored."
        raise _bad_header(path, f"voxel sizes (pixdim) from {low:g} to {high:g} mm", f"{spacing}", *[hint] * is_signed)
    third = float(header["pixdim"][3])
    return tuple(spacing + [third if low <= third <= high else 1.0] * (3 - axes))


def _affine(path: Path, header: Header) -> np.ndarray:
    """Returns the (4, 4) float64 matrix from voxel indices to mm: sform, else qform, else from pixdim."""
    if not has_orientation(header):
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*_spacing_mm(path, header), 1.0])
    try:
        matrix = np.asarray(header.get_best_affine(), np.float64)
    except (nib.spatialimages.HeaderDataError, ValueError) as error:
        raise _bad_header(path, "a valid qform or sform", str(error)) from error
    is_flat = min(header.get_data_shape()[:3], default=1) == 1 or int(header["dim"][0]) == 2
    if not np.isfinite(matrix).all() or (not is_flat and abs(np.linalg.det(matrix[:3, :3])) < 1e-12):
        raise _bad_header(path, "a finite, invertible affine", f"{matrix[:3].tolist()}")
    return matrix


def _bad_header(path: Path, expected: str, found: str, hint: str = FRESH_COPY) -> DataError:
    return DataError(path, expected=expected, found=found, remedy=f"The header is damaged or unusual. {hint}")


def _as_volumes(path: Path, header: Header, content: np.ndarray, channel: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the raw voxels as (X, Y, Z, C), C images one after the other, and notes."""
    shape, notes = list(header.get_data_shape()), ()
    extra = [size for size in shape[3:] if size > 1]
    if len(extra) > 1:
        expected, remedy = "3-D, or 4-D with one axis of channels", "Split the file into 3-D images."
        raise DataError(path, expected=expected, found=f"shape {tuple(shape)}", remedy=remedy)
    if extra and shape[2] == 1 and channel == 0 and int(header["intent_code"]) != _VECTOR:
        described = " x ".join(map(str, shape))
        notes = (f"a file of shape {described} was read as a volume of {extra[0]} slices",)
        shape, extra = [*shape[:2], *extra], []
    shape = (shape[:3] + [1, 1])[:3] + (extra or [1])
    return content.reshape(shape, order="F"), notes


def _scaled(path: Path, header: Header, raw: np.ndarray) -> np.ndarray:
    if raw.dtype != header.get_data_dtype():
        return raw  # scaled as it was read
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    is_used = slope != 0 and not math.isnan(slope)
    if math.isinf(slope) or math.isinf(intercept) or (is_used and math.isnan(intercept)):
        raise _bad_header(path, "finite scl_slope and scl_inter", f"scl_slope = {slope}, scl_inter = {intercept}")
    if not is_used or (slope, intercept) == (1.0, 0.0):
        return raw
    with np.errstate(over="ignore"):
        return raw * slope + (intercept or 0.0)


def as_integers(path: Path, values: np.ndarray) -> np.ndarray:
    rounded = np.rint(values) if values.dtype.kind == "f" else values
    wrong = np.abs(values - rounded) > INTEGER_TOLERANCE if values.dtype.kind == "f" else np.zeros(1, bool)
    if wrong.any():
        examples = ", ".join(f"{value:g}" for value in np.unique(values[wrong])[:5])
        found = f"{int(wrong.sum())} of {values.size} voxels in between, such as {examples}"
        remedy = "An image, or a label resampled with interpolation? Resample labels by nearest neighbour."
        raise DataError(path, expected=f"integer labels (within {INTEGER_TOLERANCE:g})", found=found, remedy=remedy)
    limits = np.iinfo(np.int32)
    if float(rounded.min()) < limits.min or float(rounded.max()) > limits.max:
        found = f"values from {rounded.min()} to {rounded.max()}"
        remedy = "This is no label file, or it is damaged."
        raise DataError(path, expected="labels that fit 32 bits", found=found, remedy=remedy)
    return np.asarray(rounded, np.int32)


def write_nifti(
    path: str | Path,
    array: np.ndarray,
    *,
    like: Grid | None = None,
    affine: np.ndarray | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> None:
    """Writes a 3-D or 4-D array as .nii.gz, atomically and byte for byte reproducible (no time in the gzip header).

    Args:
        path: Target; its name ends with .nii.gz.
        array: (X, Y, Z) or (X, Y, Z, K), a numeric type that NIfTI knows, or bytes R, G, B; bool is stored as uint8.
            Its axes are those of `like`.
        like: The image or `Volume` whose zooms, units, affine and qform/sform codes the file gets, with the axes of its
            file; of one without a header (another format) zooms and affine.
        affine: (4, 4), replaces the affine of `like` in its file.
        spacing_mm: Size of a voxel, replaces that of `like` in its file.

    Raises:
        RuntimeError: an array or name that cannot be written, or too little to make a header from.
        FewSliceError: the file system refuses.
    """
    path, array = Path(path), np.asarray(array)
    if not path.name.lower().endswith(".nii.gz"):
        raise RuntimeError(f"The name of a written NIfTI must end with .nii.gz. Received: {path.name}")
    if array.ndim not in (3, 4) or not (array.dtype.kind in "biuf" or array.dtype.names == tuple("RGB")):
        raise RuntimeError(f"Expected a 3-D or 4-D numeric array. Received: shape {array.shape}, {array.dtype}")
    array = array.astype(np.uint8) if array.dtype.kind == "b" else array
    if like is not None:
        array = turned(array, inverse(like.axes))
    if like is not None and like.header is None:
        affine, spacing_mm, like = like.affine, like.spacing_mm, None
    header = new_header(array, like, affine, spacing_mm)
    header.set_slope_inter(1.0, 0.0)
    content = header.binaryblock + bytes(4) + array.astype(header.get_data_dtype(), copy=False).tobytes(order="F")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as stream:
            stream.write(content)


def new_header(
    array: np.ndarray, like: Grid | None, affine: np.ndarray | None, spacing_mm: Sequence[float] | None
) -> Header:
    if like is None and (affine is None or spacing_mm is None):
        raise RuntimeError("write_nifti needs `like`, or both `affine` and `spacing_mm`.")
    header = nib.Nifti1Header() if like is None else like.header.copy()
    if like is None:
        header.set_xyzt_units("mm")
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header["cal_min"], header["cal_max"], header["intent_code"] = 0.0, 0.0, 0
    header["magic"] = b"n+1" if header.sizeof_hdr == 348 else header["magic"]
    header["vox_offset"] = header.single_vox_offset
    spacing_mm = permuted(like.spacing_mm, inverse(like.axes)) if spacing_mm is None else spacing_mm
    spacing_mm = tuple(float(size) for size in spacing_mm)
    if affine is not None:
        _set_affine(header, np.asarray(affine, np.float64), spacing_mm, is_new=like is None)
    header.set_zooms(spacing_mm + (1.0,) * (array.ndim - 3))
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
