"""Reads what SimpleITK reads: .nrrd, .nhdr, .mha and .mhd files, and folders that hold one DICOM series.

SimpleITK takes memory for whatever a header claims, and voxels from a damaged gzip stream, without a word; of a folder
with several series, phases or a gap it makes one volume. Here the claimed size is compared with the content and the
limit before memory is taken, streams are read to their checksum, and what makes no single volume is refused.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from fewslice.core import limits
from fewslice.core.errors import DataError, few, plural
from fewslice.core.files import refuse_special
from fewslice.data.io import nifti
from fewslice.data.io.access import absence, readable, visible
from fewslice.data.io.nifti import FRESH_COPY, Grid
from fewslice.data.io.pictures import is_picture, read_picture

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
KINDS = "*.nii.gz, *.nii, *.nrrd, *.mha, *.mhd, a folder for each DICOM series, or pictures: *.png, *.bmp, *.tif, *.jpg"
NAMED = re.compile(r"Segment(\d+)_(?:Name|ID)")  # facts of 3D Slicer
_DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
_FIRST = 20  # so many entries of a folder are looked at for a DICOM file
_SPLIT = "Put the files of one volume into a folder of its own and move the others elsewhere (3D Slicer lists series)."
_EXPORT = "Load it in 3D Slicer, which resamples it, save it as .nrrd and give that file, or leave the case out."


class _Slice(NamedTuple):
    """One DICOM file before its pixels are read; lengths in mm, directions to L, P, S."""

    path: Path
    series: str
    kind: str
    size: tuple[int, ...]  # columns, rows, values per pixel
    pixel_size: tuple[float, ...]  # between rows and between columns
    directions: tuple[float, ...]  # of a row and a column
    position: tuple[float, ...]


def read_image_file(path: str | Path, *, channel: int = 0, is_label: bool = False, num_channels: int = 1) -> Grid:
    """Reads one 3-D image or label of any kind, as `read_nifti`, `read_itk` or `read_picture` does."""
    path = Path(path)
    if is_picture(path) and not path.is_dir():
        return read_picture(path, channel=channel, is_label=is_label, num_channels=num_channels)
    read = read_itk if path.is_dir() or path.name.lower().endswith(ENDINGS) else nifti.read_nifti
    return read(path, channel=channel, is_label=is_label, num_channels=num_channels)


def read_itk(path: Path, *, channel: int = 0, is_label: bool = False, num_channels: int = 1) -> Grid:
    """Reads a file with one of `ENDINGS`, or the folder of a DICOM series, checked like NIfTI.

    Arguments are those of `read_nifti`; the images of a file are its values per voxel. Slope and intercept of each
    DICOM slice are applied. The header of the result is that of NIfTI files on the same grid.

    Raises:
        DataError: as `read_nifti`; files of a folder that make no single volume.
    """
    found, _ = read_layers(path)
    values = found.array
    if values.dtype == np.uint8 or path.is_dir():
        values = nifti.as_colours(values, channel, num_channels)
    how = {"channel": channel, "is_label": is_label, "num_channels": num_channels}
    values, notes = nifti.chosen(path, values, found.notes, **how)
    return replace(found, array=nifti.checked(path, values, is_label=is_label), notes=notes)


def read_layers(path: Path) -> tuple[Grid, dict[str, str]]:
    """Returns the voxels of a file or folder, (X, Y, Z, C) as stored, and the facts that 3D Slicer adds on segments."""
    if path.is_dir():
        return _read_series(path), {}
    with readable(path):
        reader, size, dtype = _opened(path)
    if len(size) not in (3, 4):
        remedy = "Save each image of a series as a file of its own."
        raise DataError(path, expected="a volume with three axes", found=f"{len(size) - 1} axes", remedy=remedy)
    count = math.prod(size) * dtype.itemsize
    limits.check(path, max(count, 4 * math.prod(size)), f"{count} bytes of voxels (shape {size[:-1]}, {dtype.name})")
    _check_content(path, count)
    with _intact(path):
        image = reader.Execute()
    axes = image.GetDimension()
    affine, spacing = np.eye(4), (*image.GetSpacing(), 1.0)[:3]
    affine[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes)) * image.GetSpacing()
    affine[:axes, 3] = image.GetOrigin()
    facts = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    return _grid(path, _array(image, (*size[:-1], 1)[:3]), spacing, affine), facts


def segment_names(path: Path) -> list[str]:
    """Returns the names of the segments in a file of 3D Slicer; [] for every other file."""
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return []
    with readable(path):
        reader = _opened(path)[0]
    found = map(NAMED.fullmatch, sorted(reader.GetMetaDataKeys()))  # the name, if there is one, after the ID
    names = {int(match[1]): reader.GetMetaData(match[0]) for match in found if match}
    return [names[place] for place in sorted(names)]


def is_series(folder: Path) -> bool:
    """Whether a folder directly holds DICOM files; False for one that cannot be listed."""
    with contextlib.suppress(OSError, DataError):
        return folder.is_dir() and any(_is_dicom(path) for path in visible(folder)[:_FIRST])
    return False


def files_of(path: Path) -> list[Path]:
    """Returns every file whose content makes an image: of a header its voxels too, of a DICOM series all files."""
    with contextlib.suppress(OSError, DataError):
        if path.is_dir():
            return [entry for entry in visible(path) if entry.is_file()]
        if path.name.lower().endswith(ENDINGS) and path.is_file():
            return list(dict.fromkeys((path, _data_of(path)[0])))
    return [path]


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or path.name == "DICOMDIR":
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM" or path.name.lower().endswith(_DICOM_ENDINGS)


@contextlib.contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Turns what SimpleITK says into one message."""
    try:
        yield
    except RuntimeError as error:
        lines = [text for line in str(error).splitlines() if (text := line.strip()) not in ("", "Reason: Success")]
        found = re.sub(r"ITK ERROR: |\w+\(0x[0-9a-f]+\): ", "", lines[-1])
        raise DataError(path, expected="an intact file", found=found, remedy=FRESH_COPY) from error


def _opened(path: Path) -> tuple[object, tuple[int, ...], np.dtype]:
    """Returns SimpleITK's reader with the header read, (X, Y, ..., values per voxel) and the type of one value."""
    if not path.exists():
        found, remedy = absence(path)
        raise DataError(path, expected="an image or a label", found=found, remedy=remedy)
    refuse_special(path)
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    kinds = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
    reader.SetImageIO(kinds.get(path.suffix.lower(), "GDCMImageIO"))
    reader.SetFileName(str(path))
    with _intact(path):
        reader.ReadImageInformation()
        layers, axes = reader.GetNumberOfComponents(), reader.GetDimension()
        dtype = sitk.GetArrayViewFromImage(sitk.Image([1] * axes, reader.GetPixelIDValue())).dtype
    if dtype.kind not in "iuf":
        remedy = "Convert the voxels, such as complex ones to their magnitude."
        raise DataError(path, expected="real numbers", found=str(dtype), remedy=remedy)
    return reader, (*reader.GetSize(), layers), dtype


def _array(image: object, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the voxels as (X, Y, Z, C)."""
    import SimpleITK as sitk

    return np.moveaxis(sitk.GetArrayFromImage(image).reshape(*shape[::-1], -1), (2, 1, 0), (0, 1, 2))


def _grid(path: Path, array: np.ndarray, spacing: tuple, to_lps: np.ndarray, notes: tuple[str, ...] = ()) -> Grid:
    low, high = nifti.SPACING_RANGE_MM
    if not all(low <= side <= high for side in spacing):
        raise DataError(path, expected=f"voxels of {low:g} to {high:g} mm", found=str(spacing), remedy=FRESH_COPY)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_lps
    header = nifti.new_header(np.broadcast_to(np.float32(0), array.shape[:3]), None, affine, spacing)
    return Grid(array, tuple(map(float, spacing)), affine, header, notes=notes)


def _data_of(path: Path) -> tuple[Path, int, str]:
    """Returns the file that holds the voxels of a header, where they begin in it, and how they are stored."""
    is_meta, fields = path.suffix.lower() in (".mha", ".mhd"), {}
    with open(path, "rb") as file:
        for line in iter(lambda: file.readline(1 << 16), b""):
            key, _, value = line.decode("latin-1").strip().partition("=" if is_meta else ":")
            key = key.strip().lower().replace(" ", "")
            fields.setdefault(key, value.strip())
            if key == ("elementdatafile" if is_meta else ""):
                break
        start = file.tell()
    name = fields.get("elementdatafile" if is_meta else "datafile", "")
    if any(fields.get(key, "0") != "0" for key in ("headersize", "byteskip", "lineskip")):
        encoding = "voxels after bytes to skip"
    elif "%" in name or name.upper().split(" ")[0] == "LIST":
        encoding, name = "a list of files", ""
    elif is_meta:
        is_binary, is_packed = (fields.get(f"{key}data", "")[:1] in ("T", "t", "1") for key in ("binary", "compressed"))
        encoding = ("gzip" if is_packed else "raw") if is_binary else "text"
    else:
        encoding = re.sub("^gz$", "gzip", fields.get("encoding", "nothing").lower())
    is_own = not name or (is_meta and name.upper() == "LOCAL")
    return (path, start, encoding) if is_own else (path.parent / name, 0, encoding)


def _check_content(path: Path, count: int) -> None:
    """Refuses a file whose voxels, unpacked to the checksum, are not the `count` bytes that its header announces."""
    data, start, encoding = _data_of(path)
    if encoding not in ("raw", "gzip"):
        remedy = "Save it again from 3D Slicer or ITK-SNAP as .nrrd or .mha."
        raise DataError(path, expected="voxels in one file, raw or gzip", found=encoding, remedy=remedy)
    if not data.exists():
        remedy = f"Put it beside {path.name}: both are the image."
        raise DataError(data, expected=f"the voxels of {path.name}", found=absence(data)[0], remedy=remedy)
    with nifti.reading(data):
        refuse_special(data)
        on_disk = os.path.getsize(data)
        with open(data, "rb") as file:
            file.seek(start)
            found = _inflated(file, count) if encoding == "gzip" else on_disk - start
    if found != count:
        text = f"{'more' if found > count else f'only {found}'} ({on_disk} bytes in the file)"
        raise DataError(data, expected=f"{count} bytes of voxels", found=text, remedy=FRESH_COPY)


def _inflated(file: BinaryIO, most: int) -> int:
    """Returns how many bytes a gzip or zlib stream unpacks to, at most a little more than `most`."""
    count, decoder, block = 0, zlib.decompressobj(47), b""
    while count <= most and (block := block or file.read(1 << 16)):
        decoder = zlib.decompressobj(47) if decoder.eof else decoder
        count += len(decoder.decompress(block))
        block = decoder.unused_data
    if count <= most and not decoder.eof:
        raise EOFError
    return count


def _read_series(folder: Path) -> Grid:
    """Reads a folder of DICOM files, one slice each, as one volume."""
    with readable(folder):
        every = visible(folder)
        wanted = [path for path in every if _is_dicom(path) or not (path.is_file() or path.is_dir())]
        slices = [_slice(path) for path in wanted]
    if not slices:
        remedy = "Is there a file in it, such as a .nii.gz? Take it out of its folder."
        raise DataError(folder, expected="a file, or a folder with DICOM files", found="a folder", remedy=remedy)
    _check_alike(folder, slices)
    positions, cosines = np.array([each.position for each in slices]), np.reshape(slices[0].directions, (2, 3))
    normal = np.cross(*cosines)
    if not np.allclose(np.linalg.norm([*cosines, normal], axis=1), 1, atol=1e-3):
        found = f"directions {slices[0].directions}"
        raise DataError(slices[0].path, expected="slices with right angles", found=found, remedy=FRESH_COPY)
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[index] for index in order], positions[order]
    step = _step_mm(folder, slices, positions, normal) if len(slices) > 1 else 1.0
    columns, rows, layers = slices[0].size
    count = 4 * math.prod(slices[0].size) * len(slices)
    size = sum(os.path.getsize(each.path) for each in slices)
    limits.check(folder, count, f"{plural(len(slices), 'slice')} of {columns} x {rows} pixels", on_disk=size)
    array = np.empty((columns, rows, len(slices), layers), np.float32)
    for index, each in enumerate(slices):
        with readable(each.path), _intact(each.path):
            array[:, :, index] = _array(_opened(each.path)[0].Execute(), (columns, rows, 1))[:, :, 0]
    sides, affine = (each.pixel_size[1], each.pixel_size[0], step), np.eye(4)
    affine[:3, :3] = np.stack([*cosines, normal], axis=1) * sides
    affine[:3, 3] = positions[0]
    others = [path.name for path in every if path not in wanted]
    notes = (f"beside its DICOM files are {few(others, 3)}, which were passed over",) if others else ()
    return _grid(folder, array, sides, affine, notes)


def _slice(path: Path) -> _Slice:
    reader, (columns, rows, frames, layers), _ = _opened(path)
    facts = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    kinds = facts.get("0008|0008", "")
    if frames != 1 or "MOSAIC" in kinds:
        remedy = "Convert it with dcm2niix or 3D Slicer and give the .nii.gz or .nrrd."
        raise DataError(path, expected="one slice per DICOM file", found=f"{frames} frames ({kinds})", remedy=remedy)

    def numbers(tag: str, name: str, length: int) -> tuple[float, ...]:
        text = facts.get(tag, "")
        with contextlib.suppress(ValueError):
            values = tuple(map(float, text.split("\\")))
            if len(values) == length and np.isfinite(values).all():
                return values
        remedy = "A photograph, a report or a screenshot? Move it elsewhere. " + _EXPORT
        raise DataError(path, expected=f"{name} ({tag}), {length} numbers", found=text or "none", remedy=remedy)

    return _Slice(
        path,
        " ".join(filter(None, (facts.get("0008|103e"), facts.get("0020|000e")))),
        "localiser" if "LOCALIZER" in kinds else "slice",
        (columns, rows, layers),
        numbers("0028|0030", "PixelSpacing", 2),
        numbers("0020|0037", "ImageOrientationPatient", 6),
        numbers("0020|0032", "ImagePositionPatient", 3),
    )


def _check_alike(folder: Path, slices: list[_Slice]) -> None:
    """Refuses files of several series, sizes or directions, and localisers beside slices."""
    for name in ("series", "kind", "size", "pixel_size", "directions"):
        value = getattr(slices[0], name)
        is_same = value.__eq__ if isinstance(value, str) else functools.partial(np.allclose, value, atol=1e-3)
        if others := [each for each in slices if not is_same(getattr(each, name))]:
            found = f"{value} ({slices[0].path.name}, {len(slices) - len(others)} in all) and "
            found += f"{getattr(others[0], name)} ({others[0].path.name}; others: {len(others)})"
            raise DataError(folder, expected=f"one {name.replace('_', ' ')} of all files", found=found, remedy=_SPLIT)


def _step_mm(folder: Path, slices: list[_Slice], positions: np.ndarray, normal: np.ndarray) -> float:
    """Returns the distance of neighbouring slices, which must be equal and straight above one another."""
    depths = (positions - positions[0]) @ normal
    gaps, places = np.diff(depths), len({round(depth, 3) for depth in depths.tolist()})
    step, usual = float(depths[-1] / len(gaps)), float(np.median(gaps))
    if gaps.min() < 1e-3:
        twins = [each.path.name for each in slices[int(gaps.argmin()) :][:2]]
        found = f"{len(slices)} files at {places} places, such as {' and '.join(twins)} (phases, echoes, repeats?)"
        raise DataError(folder, expected="one slice at each place", found=found, remedy=_SPLIT)
    if np.abs(depths - step * np.arange(len(depths))).max() > _slack(step):
        holes = np.flatnonzero(gaps > 1.5 * usual)
        found = f"distances of {gaps.min():.4g} to {gaps.max():.4g} mm"
        if len(holes):
            found += f": a gap after {few([slices[hole].path.name for hole in holes], 3)}"
        remedy = f"Are slices missing? Fetch the series again. If it was taken so: {_EXPORT}"
        raise DataError(folder, expected="slices at equal distances", found=found, remedy=remedy)
    shift = np.linalg.norm(positions - positions[0] - np.outer(depths, normal), axis=1).max()
    if shift > _slack(min(slices[0].pixel_size)):
        angle = math.degrees(math.atan(shift / depths[-1]))
        found = f"a shift of {shift:.3g} mm from the first to the last (gantry tilt of {angle:.3g} degrees?)"
        raise DataError(folder, expected="slices straight above one another", found=found, remedy=_EXPORT)
    return step


def _slack(side_mm: float) -> float:
    """Returns how far a slice may lie off: positions are often rounded to 0.1 mm."""
    return min(max(0.05 * side_mm, 0.1), 0.25 * side_mm)
