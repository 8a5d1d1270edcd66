"""Reads pictures (.png, .bmp, .tif, .jpg) as volumes of one slice, rows x columns, and writes masks as .png.

One rule for each kind, told in a note: 16 bits are scaled to 0 ... 255; palettes, CMYK and the like become red, green
and blue; transparency is left out; grey becomes three equal channels where `num_channels` is 3. In labels a palette's
numbers and 16 bits are codes as they stand. A pixel counts as 1 mm, since resolutions in such files are seldom true.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fewslice.core import limits
from fewslice.core.errors import ConfigError, DataError
from fewslice.core.files import atomic_path, refuse_special
from fewslice.data.io import nifti
from fewslice.data.io.access import access_error
from fewslice.data.io.geometry import inverse, turned
from fewslice.data.io.nifti import FRESH_COPY, Grid

try:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # `limits.check` takes its place: one limit for all files, with a flag
except ImportError:  # exported programs may do without
    Image = None

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_FORMATS = ("PNG", "BMP", "TIFF", "JPEG")
_GREYS = ("1", "L", "LA", "I", "F", "I;16", "I;16L", "I;16B")
_NEAR, _MOST_BETWEEN = 32, 0.02  # of JPEG masks: distance from 0 or 255, and the share of pixels farther away
_EXIF_ORIENTATION = 0x0112


def is_picture(path: Path) -> bool:
    """Whether a file's name ends as those of pictures."""
    return path.name.lower().endswith(ENDINGS)


def read_picture(path: Path, *, channel: int = 0, is_label: bool = False, num_channels: int = 1) -> Grid:
    """Reads one picture; arguments are those of `read_nifti`.

    Returns:
        (rows, columns, 1) or (rows, columns, 1, 3) float32 of 0 ... 255, or int32 codes.

    Raises:
        DataError: missing, damaged or truncated file, several pages, more memory than the limit; a label in colours, or
            in JPEG with other shades than black and white.
    """
    with _opened(path) as picture:
        is_cut = any(";16" in str(tile[-1]) for tile in picture.tile) and len(picture.getbands()) > 1
        with _intact(path):
            picture.load()
            is_turned = picture.getexif().get(_EXIF_ORIENTATION, 1) != 1
        values, notes = _codes(path, picture) if is_label else _intensities(picture)
        notes += ("of 16 bits per colour the upper 8 were read",) * is_cut
        notes += ("the camera's orientation (EXIF) is left out: pixels stay as stored",) * is_turned
    if not is_label and num_channels == 3 and values.ndim == 2:
        values, notes = np.stack([values] * 3, axis=-1), (*notes, "grey became three equal channels")
    values = values[:, :, np.newaxis]
    if values.ndim == 4:
        values, how = (
            nifti.as_colours(values, channel, num_channels),
            {"channel": channel, "num_channels": num_channels},
        )
        values, notes = nifti.chosen(path, values, notes, is_label=False, **how)
    return Grid(nifti.checked(path, values, is_label=is_label), (1.0, 1.0, 1.0), np.eye(4), notes=notes)


def is_coloured(path: Path) -> bool:
    """Whether a picture has colours. Raises `DataError` where it cannot be read."""
    with _opened(path) as picture:
        return picture.mode not in _GREYS


def label_name(case_id: str, image: Path) -> str:
    """Returns the name of a label's file: of a picture .png, else .nii.gz."""
    return f"{case_id}{'.png' if is_picture(image) else '.nii.gz'}"


def write_label(path: Path, label: np.ndarray, *, like: Grid) -> None:
    """Writes a label (X, Y, Z) atomically, as .png if `path` says so, else as `write_nifti`.

    Raises:
        ConfigError: codes that a .png cannot hold.
        FewSliceError: the file system refuses.
    """
    if not is_picture(path):
        return nifti.write_nifti(path, label, like=like)
    if label.min() < 0 or label.max() > 65535:
        raise ConfigError(f"{path}: a .png has codes 0 to 65535. Received: {label.min()} to {label.max()}.")
    codes = turned(label, inverse(like.axes))[:, :, 0].astype(np.uint8 if label.max() < 256 else np.uint16)
    with atomic_path(path) as temporary:
        Image.fromarray(codes).save(temporary, format="PNG")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Yields a picture of which the header is read, its size within the limit."""
    if Image is None:
        raise ConfigError(f"{path}: pictures need Pillow (pip install pillow).")
    refuse_special(path)
    with _intact(path):
        picture = Image.open(path, formats=_FORMATS)
    with picture:
        size = f"{picture.height} x {picture.width} pixels ({picture.mode})"
        limits.check(path, 4 * math.prod(picture.size) * len(picture.getbands()), size)
        with _intact(path):
            pages = getattr(picture, "n_frames", 1)
        if pages > 1 and picture.format != "MPO":  # a camera's, with previews
            remedy = "Save each page as a file of its own, or all slices of a volume as .nii.gz or .nrrd."
            raise DataError(path, expected="one picture", found=f"{pages} pages", remedy=remedy)
        yield picture


@contextlib.contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Turns what Pillow says of damaged content, in errors of all kinds, into one message."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise access_error(error, path) from error
        found = str(error).replace(repr(str(path)), "it") or type(error).__name__
        expected = f"an intact file ({', '.join(_FORMATS)})"
        raise DataError(path, expected=expected, found=found, remedy=FRESH_COPY) from error


def _intensities(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns (rows, columns) or (rows, columns, 3) of 0 ... 255, and notes."""
    mode, notes = picture.mode, ("its transparency is left out",) * picture.mode.endswith("A")
    if mode.startswith("I;16") or (mode == "I" and picture.format == "PNG"):
        return np.asarray(picture, np.float32) / np.float32(257), ("16 bits were scaled to 0 ... 255",)
    if mode in ("I", "F"):
        return np.asarray(picture), ("32 bits per pixel: values were read as they stand",)
    if mode not in (*_GREYS, "RGB", "RGBA"):
        notes += (f"its {'palette' if mode[0] == 'P' else mode} became red, green and blue",)
    return np.asarray(picture.convert("L" if mode in _GREYS else "RGB")), notes


def _codes(path: Path, picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns (rows, columns) codes, and notes."""
    values, notes = np.asarray(picture), ()
    if values.ndim == 3:
        values = values[..., :-1] if picture.mode.endswith("A") else values
        if (values != values[..., :1]).any():
            remedy = "Save one number per pixel: a grey picture, or one with a palette."
            raise DataError(path, expected="a label with one value per pixel", found="colours", remedy=remedy)
        values, notes = values[..., 0], ("of its channels, which are equal, one was read",)
    if picture.format in ("JPEG", "MPO"):
        between = np.mean(np.minimum(values, 255 - values) > _NEAR)
        if between > _MOST_BETWEEN:
            found = f"JPEG, {between:.0%} of the pixels between black and white"
            raise DataError(path, expected="a label without losses", found=found, remedy="Export it as .png.")
        values, notes = np.where(values > 127, 255, 0), (*notes, "JPEG blurs labels: it was read as black or white")
    return values, notes
