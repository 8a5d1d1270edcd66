"""Shared by the layouts of .h5 files: checked arrays, and the csv table of what the files lack.

The table has one row per volume with its voxel size and perhaps its phase: the columns volume, phase, spacing_x_mm,
spacing_y_mm and spacing_z_mm.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from fewslice.core import files, limits
from fewslice.core.errors import DataError
from fewslice.data.io.access import absence, access_error, readable
from fewslice.data.readers.base import Grid, Reader
from fewslice.data.volume import Case

VOLUME = ("z", "y", "x")
FILE = re.compile(r"(.+?)(?:_slice_(\d+))?\.h5", re.IGNORECASE)
_SPACING = ("spacing_x_mm", "spacing_y_mm", "spacing_z_mm")
_REMEDY = "Get a fresh copy of the file, or leave the case out."


class H5Reader(Reader):
    """Reads `image`, `label` and perhaps `scribble` (z, y, x) of .h5 files; voxel sizes come from `spacing_table`.

    Notes:
        The affine is diag(-x, -y, z) of the voxel size, the directions of ACDC's NIfTI files.
    """

    has_phases = False  # whether the spacing table must have the column "phase"
    label_kinds = "iu"  # kinds of numbers that a label may be stored as

    def has_scribble(self, case: Case) -> bool:
        """Whether the file of the volume, or its first slice file, holds a scribble."""
        return holds(case.image_path, "scribble") is True

    def facts(self, case: Case) -> dict[str, object]:
        """Returns the voxel size from the table, which decides the result beside the files."""
        return {"spacing_mm": list(self._spacing(case))}

    @property
    def _table_path(self) -> Path:
        return self.root / self.dataset.spacing_table

    @cached_property
    def _table(self) -> Mapping[str, Mapping[str, str]]:
        return read_spacing_table(self._table_path, self.dataset.how_to_get, with_phase=self.has_phases)

    def _row(self, case: Case) -> Mapping[str, str]:
        """Returns the row of the spacing table, {} without a table."""
        if not self.dataset.spacing_table:
            return {}
        name = FILE.fullmatch(case.image_path.name)[1]
        if name.lower() not in self._table:
            expected = f"a row for the volume {name}"
            remedy = "Add it, or leave the volume out."
            raise DataError(self._table_path, expected=expected, found="none", remedy=remedy)
        return self._table[name.lower()]

    def _spacing(self, case: Case) -> tuple[float, float, float]:
        row = self._row(case)
        return tuple(float(row[column]) for column in _SPACING) if row else (1.0, 1.0, 1.0)

    def _array(self, case: Case, key: str, kinds: str, *, is_optional: bool = False) -> np.ndarray | None:
        """Returns the (X, Y, Z) array `key` of a volume, or None if it is optional and absent."""
        array = read_array(case.image_path, key, kinds, is_optional=is_optional)
        return None if array is None else np.swapaxes(array, 0, 2)

    def _file_of(self, case: Case, is_wrong: np.ndarray) -> Path:
        """Returns the file that holds the first wrong voxel of a volume, (X, Y, Z, ...) bool."""
        return case.image_path

    def _grid(self, case: Case, array: np.ndarray) -> Grid:
        spacing = self._spacing(case)
        return Grid(array, spacing, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))

    def _read_image(self, case: Case) -> Grid:
        array = np.ascontiguousarray(self._array(case, "image", "fiu"), np.float32)
        is_wrong = ~np.isfinite(array)
        if is_wrong.any():
            path, found = self._file_of(case, is_wrong), f"{is_wrong.sum()} NaN or infinite of {array.size} voxels"
            raise DataError(path, expected="finite voxel values", found=found, remedy=_REMEDY)
        return self._grid(case, array)

    def _read_label(self, case: Case) -> Grid:
        if case.label_path is None:
            return super()._read_label(case)
        array = self._array(case, "label", self.label_kinds)
        is_wrong = array != np.rint(array)
        if is_wrong.any():
            path, remedy = self._file_of(case, is_wrong), "Store classes as whole numbers."
            raise DataError(path, expected="a label of whole numbers", found="others", remedy=remedy)
        return self._grid(case, np.ascontiguousarray(array, np.int32))

    def _read_scribble(self, case: Case) -> np.ndarray | None:
        array = self._array(case, "scribble", "iu", is_optional=True)
        if array is None:
            return None
        num_classes = self.dataset.num_classes
        is_wrong = (array < 0) | (array > num_classes)
        if is_wrong.any():
            found, remedy = f"{array.min()} to {array.max()}", "Correct the scribble or set `num_classes`."
            expected = f"scribble values 0 to {num_classes} ({num_classes} = not annotated)"
            raise DataError(self._file_of(case, is_wrong), expected=expected, found=found, remedy=remedy)
        return np.ascontiguousarray(array, np.uint8)


def read_array(
    path: Path, key: str, kinds: str, *, axes: tuple[str, ...] = VOLUME, is_optional: bool = False
) -> np.ndarray | None:
    """Reads one array of an .h5 file.

    Args:
        path, key: The file, and the array's name in it.
        kinds: Allowed kinds of numbers, as in `numpy.dtype.kind`: "iu" for whole numbers, "fiu" for any.
        axes: Names of the axes, for their number and for messages.
        is_optional: Return None where the file has no such array.

    Raises:
        DataError: the file is missing, damaged or cannot be opened; the array is missing, has another number of axes or
            another kind, is empty, larger than the limit (`core.limits`) or stored outside the file.
    """
    import h5py

    try:
        with readable(path):
            files.refuse_special(path)
        with h5py.File(path, "r") as file:
            if key not in file and is_optional:
                return None
            item = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
            is_array = isinstance(item, h5py.Dataset) and item.ndim == len(axes) and item.dtype.kind in kinds
            if not is_array or item.external or not all(item.shape):
                found = f"{item!r}" if item is not None else f"keys {', '.join(sorted(file)) or 'none'}"
                expected = f"a {len(axes)}-D array `{key}` ({', '.join(axes)})"
                raise DataError(path, expected=expected, found=found, remedy=_REMEDY)
            size = item.dtype.itemsize * max(math.prod(item.shape), math.prod(item.chunks or ()))
            limits.check(path, size, f"`{key}` of shape {item.shape}, {item.dtype}")
            return item[()]
    except DataError:
        raise
    except FileNotFoundError as error:
        found, remedy = absence(path)
        raise DataError(path, expected="an .h5 file", found=found, remedy=remedy) from error
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, ValueError, ... for damaged files
        if isinstance(error, OSError) and error.errno:  # for damage it has none; its text is many lines
            raise access_error(OSError(error.errno, os.strerror(error.errno)), path) from error
        raise DataError(path, expected="an intact .h5 file", found=f"damage ({error})", remedy=_REMEDY) from error


def holds(path: Path, key: str) -> bool | None:
    """Whether a file holds something named `key`; None where it cannot be opened, of which reading says why."""
    import h5py

    try:
        files.refuse_special(path)
        with h5py.File(path, "r") as file:
            return key in file
    except Exception:
        return None


def read_spacing_table(path: Path, how_to_get: str, *, with_phase: bool) -> dict[str, Mapping[str, str]]:
    """Returns volume name in lower case -> its row; `with_phase` there must be a column "phase" with ED or ES.

    Raises:
        DataError: no such file, a column is missing, a row is incomplete or occurs twice.
    """
    columns = ("volume", *(("phase",) if with_phase else ()), *_SPACING)
    if not path.is_file():
        expected = f"a csv table with the columns {', '.join(columns)} (`spacing_table`)"
        raise DataError(path, expected=expected, found="no such file", remedy=how_to_get)
    with readable(path), open(path, newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    problems = [f"no column {name}" for name in columns if rows and name not in rows[0]]
    problems += ["no rows"] if not rows else []
    if not problems:
        problems = [
            f"line {line}: {text}" for line, row in enumerate(rows, 2) for text in _row_problems(row, with_phase)
        ]
        names = [row["volume"] for row in rows if row["volume"]]
        problems += [f"{name} occurs twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if problems:
        found = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        expected = f"one complete row per volume with {', '.join(columns)}"
        raise DataError(path, expected=expected, found=found, remedy="Correct the table.")
    return {row["volume"].lower(): row for row in rows}


def _row_problems(row: Mapping[str, str], with_phase: bool) -> list[str]:
    problems = [] if row["volume"] else ["no volume"]
    if with_phase and row["phase"] not in ("ED", "ES"):
        problems.append(f"phase {row['phase']!r} instead of ED or ES")
    for column in _SPACING:
        try:
            is_good = math.isfinite(float(row[column])) and 1e-3 <= float(row[column]) <= 1e3
        except (TypeError, ValueError):
            is_good = False
        problems += [] if is_good else [f"{column} = {row[column]!r}"]
    return problems
