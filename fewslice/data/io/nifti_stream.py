"""The bytes of a NIfTI file: opens, bounds, inflates and checks them before anything is taken for voxels.

Nothing that a header claims is trusted: the claimed size is compared with the size of the file (a gzip stream
cannot grow more than 1032-fold) before memory is taken, and the stream is read to its end and checksum.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np

from fewslice.core.errors import DataError

Header = nib.Nifti1Header  # nib.Nifti2Header is a subclass

MAX_BYTES = 8 << 30  # voxels of one file; far above any single volume, far below a header that lies
MAX_DEFLATE_RATIO = 1032  # of the deflate format
SPACING_RANGE_MM = (1e-3, 1e3)
_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 20
_MM = 2  # code of mm in xyzt_units; 0 is "unknown"
_FRESH_COPY = "Get a fresh copy of the file (interrupted download or copy, full disk), or leave the case out."


def read(path: Path) -> tuple[Header, np.ndarray]:
    """Reads the whole file.

    Returns:
        The checked header and the bytes of all voxels, uint8.

    Raises:
        DataError: missing, empty, truncated or damaged, another format, or a header that cannot be true.
    """
    is_gzip = _check_file(path)
    with _reading(path), open(path, "rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        header = _read_header(path, stream)
        count = _claimed_bytes(path, header, is_gzip)
        _skip(path, stream, _voxel_offset(path, header) - header.sizeof_hdr)
        content = _read_exactly(path, stream, count)
        if stream.read(1):  # reaching the end is also what compares the checksum
            _drain(stream)  # damage inside a gzip stream can lengthen it; the checksum then says so
            raise DataError(
                path,
                expected=f"the file to end after the {count} bytes of voxels that its header announces",
                found="further data",
                remedy="Header and voxels do not belong together. " + _FRESH_COPY,
            )
    return header, content


def _check_file(path: Path) -> bool:
    """Checks existence, size and name. Returns whether the content is gzip."""
    if not path.exists():
        raise DataError(
            path,
            expected="a NIfTI file",
            found="nothing: there is no such file",
            remedy="Check the path and the name.",
        )
    name = path.name.lower()
    if not path.is_file() or not name.endswith((".nii", ".nii.gz")):
        raise DataError(
            path,
            expected="a file whose name ends with .nii or .nii.gz",
            found="a folder" if path.is_dir() else f"the name {path.name!r}",
            remedy="Convert other formats to NIfTI first (a .hdr/.img pair too).",
        )
    with _reading(path), open(path, "rb") as file:
        start = file.read(2)
    if not start:
        raise DataError(path, expected="a NIfTI file", found="an empty file (0 bytes)", remedy=_FRESH_COPY)
    is_gzip = start == _GZIP_MAGIC
    if is_gzip != name.endswith(".gz"):
        found, right = ("gzip data", ".nii.gz") if is_gzip else ("no gzip data", ".nii, if it is NIfTI at all,")
        raise DataError(
            path,
            expected="gzip data, as the name says" if not is_gzip else "plain NIfTI, as the name says",
            found=f"{found} (first bytes {start.hex(' ')})",
            remedy=f"Rename the file to end with {right} or get a fresh copy.",
        )
    return is_gzip


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong below the NIfTI format into one message."""
    try:
        yield
    except EOFError as error:
        found = f"the gzip stream ends too early ({path.stat().st_size} bytes in the file)"
        raise DataError(path, expected="a complete gzip stream", found=found, remedy=_FRESH_COPY) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            path, expected="an intact gzip stream", found=f"damage ({error})", remedy=_FRESH_COPY
        ) from error
    except OSError as error:
        remedy = "Mend the cause (permissions, disk, network) and repeat the command."
        raise DataError(path, expected="a readable file", found=error.strerror or str(error), remedy=remedy) from error


def _read_header(path: Path, stream: BinaryIO) -> Header:
    block = stream.read(348)
    sizes = {int.from_bytes(block[:4], order): order for order in ("little", "big")}
    if 540 in sizes and len(block) == 348:
        block += stream.read(540 - 348)
    kind = nib.Nifti2Header if 540 in sizes else nib.Nifti1Header
    magic = block[4:8] if 540 in sizes else block[344:348]
    is_single_file = magic == (b"n+2\0" if 540 in sizes else b"n+1\0")
    if len(block) < kind.sizeof_hdr or not sizes.keys() & {348, 540} or not is_single_file:
        raise DataError(
            path,
            expected="a single-file NIfTI header (348 or 540 bytes, magic 'n+1' or 'n+2')",
            found=f"{len(block)} bytes, header size {min(sizes, default=0)}, magic {magic!r}",
            remedy="Convert the file to NIfTI (.nii.gz), or get a fresh copy if it should be one.",
        )
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
        kind = "gzip file" if is_gzip else "file"
        raise DataError(
            path,
            expected=claim,
            found=f"a {kind} of {on_disk} bytes, which cannot hold them",
            remedy="The file is truncated or its header is damaged. " + _FRESH_COPY,
        )
    if count > MAX_BYTES:
        raise _bad_header(path, f"at most {MAX_BYTES} bytes of voxels", claim)
    return count


def _voxel_type(path: Path, header: Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError):
        dtype = None
    if dtype is None or dtype.kind not in "iuf" or not 1 <= dtype.itemsize <= 8:
        found = f"datatype code {int(header['datatype'])}" + (f" ({dtype.name})" if dtype is not None else "")
        raise _bad_header(path, "real numbers of 8 to 64 bits per voxel", found)
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise _bad_header(path, f"bitpix {8 * dtype.itemsize} for {dtype.name}", f"bitpix {int(header['bitpix'])}")
    return dtype


def _voxel_offset(path: Path, header: Header) -> int:
    offset = float(header["vox_offset"]) or float(header.single_vox_offset)
    if not math.isfinite(offset) or offset != int(offset) or offset < header.single_vox_offset:
        raise _bad_header(path, f"vox_offset of {header.single_vox_offset} or more", f"vox_offset = {offset}")
    return int(offset)


def spacing_mm(path: Path, header: Header) -> tuple[float, float, float]:
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
        raise _bad_header(path, f"voxel sizes (pixdim) from {low:g} to {high:g} mm", f"{spacing}")
    third = float(header["pixdim"][3])
    return tuple(spacing + [third if low <= third <= high else 1.0] * (3 - axes))


def affine(path: Path, header: Header) -> np.ndarray:
    """Returns the (4, 4) float64 matrix from voxel indices to mm: sform, else qform, else from pixdim."""
    try:
        matrix = np.asarray(header.get_best_affine(), np.float64)
    except (nib.spatialimages.HeaderDataError, ValueError) as error:
        raise _bad_header(path, "a valid qform or sform", str(error)) from error
    is_flat = min(header.get_data_shape()[:3], default=1) == 1 or int(header["dim"][0]) == 2
    if not np.isfinite(matrix).all() or (not is_flat and abs(np.linalg.det(matrix[:3, :3])) < 1e-12):
        raise _bad_header(path, "a finite, invertible affine", f"{matrix[:3].tolist()}")
    return matrix


def _bad_header(path: Path, expected: str, found: str) -> DataError:
    return DataError(path, expected=expected, found=found, remedy="The header is damaged or unusual. " + _FRESH_COPY)


def _skip(path: Path, stream: BinaryIO, count: int) -> None:
    """Reads over header extensions between the header and the voxels."""
    while count > 0:
        block = stream.read(min(count, _BLOCK))
        if not block:
            raise _truncated(path, "voxels behind the header and its extensions", 0)
        count -= len(block)


def _read_exactly(path: Path, stream: BinaryIO, count: int) -> np.ndarray:
    content = np.empty(count, np.uint8)  # pages are taken as they are filled
    filled = 0
    while filled < count:
        block = stream.read(min(_BLOCK, count - filled))
        if not block:
            raise _truncated(path, f"{count} bytes of voxels", filled)
        content[filled : filled + len(block)] = np.frombuffer(block, np.uint8)
        filled += len(block)
    return content


def _drain(stream: BinaryIO) -> None:
    """Reads on to the end, but not without bound."""
    for _ in range(64):
        if not stream.read(_BLOCK):
            return


def _truncated(path: Path, expected: str, found: int) -> DataError:
    return DataError(path, expected=expected, found=f"only {found} bytes before the file ends", remedy=_FRESH_COPY)
