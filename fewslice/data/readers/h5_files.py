"""Arrays out of .h5 files, checked."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fewslice.core.errors import DataError
from fewslice.data.readers.access import access_error

VOLUME = ("z", "y", "x")
_MAX_BYTES = 8 << 30
_REMEDY = "Get a fresh copy of the file, or leave the case out."


def read_array(
    path: Path, key: str, kinds: str, *, axes: tuple[str, ...] = VOLUME, is_optional: bool = False
) -> np.ndarray | None:
    """Reads one array of an .h5 file.

    Args:
        path: The file.
        key: Name of the array in it.
        kinds: Allowed kinds of numbers, as in `numpy.dtype.kind`: "iu" for whole numbers, "fiu" for any.
        axes: Names of the axes, for their number and for messages.
        is_optional: Return None where the file has no such array.

    Raises:
        DataError: the file is missing, damaged or cannot be opened; the array is missing, has another number of axes or
            another kind, is empty, larger than 8 GiB or stored outside the file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if key not in file and is_optional:
                return None
            item = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
            is_array = isinstance(item, h5py.Dataset) and item.ndim == len(axes) and item.dtype.kind in kinds
            if not is_array or item.external or not 0 < item.size * item.dtype.itemsize <= _MAX_BYTES:
                found = f"{item!r}" if item is not None else f"keys {', '.join(sorted(file)) or 'none'}"
                expected = f"a {len(axes)}-D array `{key}` ({', '.join(axes)})"
                raise DataError(path, expected=expected, found=found, remedy=_REMEDY)
            return item[()]
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(path, expected="an .h5 file", found="no such file", remedy=_REMEDY) from error
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, ValueError, ... for damaged files
        if isinstance(error, OSError) and error.errno:  # for damage it has none; its text is many lines
            raise access_error(OSError(error.errno, os.strerror(error.errno)), path) from error
        raise DataError(path, expected="an intact .h5 file", found=f"damage ({error})", remedy=_REMEDY) from error


def holds(path: Path, key: str) -> bool | None:
    """Whether a file holds something named `key`; None where it cannot be opened, of which reading says why."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return key in file
    except Exception:
        return None


def require_finite(array: np.ndarray, path: Path) -> None:
    """Raises `DataError` where a voxel is NaN or infinite."""
    wrong = int(array.size - np.isfinite(array).sum())
    if wrong:
        found = f"{wrong} NaN or infinite of {array.size} voxels"
        raise DataError(path, expected="finite voxel values", found=found, remedy=_REMEDY)


def require_scribble(array: np.ndarray, path: Path, num_classes: int) -> None:
    """Raises `DataError` where a scribble holds more than classes and `num_classes` for "not annotated"."""
    if array.min() < 0 or array.max() > num_classes:
        raise DataError(
            path,
            expected=f"scribble values 0 to {num_classes} ({num_classes} = not annotated)",
            found=f"{array.min()} to {array.max()}",
            remedy="Correct the scribble or set `num_classes`.",
        )
