"""ACDC as preprocessed .h5 volumes with scribbles (WSL4MIS).

    patient001_frame01.h5       `image`, `label` and perhaps `scribble`, axes z, y, x (or below volumes/)

The files hold no voxel sizes; the table `spacing_table` (below the data root) has one row per volume with the
columns volume, phase, spacing_x_mm, spacing_y_mm and spacing_z_mm.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewslice.data.readers.access import access_error, readable
from fewslice.data.readers.base import READERS, Grid, Reader, visible
from fewslice.data.volume import Case
from fewslice.errors import DataError

_VOLUME = re.compile(r"(patient(\d+)_frame\d+)\.h5", re.IGNORECASE)
_SPACING = ("spacing_x_mm", "spacing_y_mm", "spacing_z_mm")
_COLUMNS = ("volume", "phase", *_SPACING)
_MAX_BYTES = 8 << 30


@READERS.register("acdc_h5")
class AcdcH5Reader(Reader):
    """Reads ACDC's .h5 volumes; case ids are "001_ED", "001_ES".

    Notes:
        The affine is diag(-x, -y, z) of the spacing, the directions of ACDC's NIfTI files.
    """

    expects = "files patient001_frame01.h5, ... with `image`, `label` and perhaps `scribble`"

    def _find(self) -> list[Case]:
        table = self._table()
        folder = self.folder / "volumes" if (self.folder / "volumes").is_dir() else self.folder
        cases, unknown = [], []
        for path in visible(folder):
            match = _VOLUME.fullmatch(path.name)
            if match and match[1].lower() not in table:
                unknown.append(match[1])
            elif match:
                phase = table[match[1].lower()]["phase"]
                cases.append(Case(f"{match[2]}_{phase}", match[2], phase, path, path))
        if unknown:
            raise DataError(
                self._table_path(),
                expected=f"one row for each volume in {folder}",
                found=f"none for {', '.join(unknown[:12])}" + (" ..." if len(unknown) > 12 else ""),
                remedy="Add the rows, or remove these volumes.",
            )
        return cases

    def source_files(self, case: Case, *, with_label: bool = True) -> list[Path]:
        """Returns the volume's file; of the spacing table one row decides (`facts`)."""
        return [case.image_path]

    def facts(self, case: Case) -> dict[str, object]:
        """Returns what decides the result beside the files: the voxel size from the table."""
        return {"spacing_mm": list(self._spacing(case))}

    def _table_path(self) -> Path:
        return self.root / self.dataset.spacing_table

    def _table(self) -> Mapping[str, Mapping[str, str]]:
        if not hasattr(self, "_rows"):
            self._rows = _read_table(self._table_path(), self.dataset.how_to_get)
        return self._rows

    def _spacing(self, case: Case) -> tuple[float, float, float]:
        row = self._table()[case.image_path.name[: -len(".h5")].lower()]
        return tuple(float(row[column]) for column in _SPACING)

    def _grid(self, case: Case, key: str, kinds: str) -> Grid:
        spacing = self._spacing(case)
        array = np.ascontiguousarray(_read_array(case.image_path, key, kinds).transpose(2, 1, 0))
        return Grid(array, spacing, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))

    def _read_image(self, case: Case) -> Grid:
        grid = self._grid(case, "image", "fiu")
        wrong = int(grid.array.size - np.isfinite(grid.array).sum())
        if wrong:
            found = f"{wrong} NaN or infinite of {grid.array.size} voxels"
            remedy = "Get a fresh copy of the file, or leave the case out."
            raise DataError(case.image_path, expected="finite voxel values", found=found, remedy=remedy)
        return Grid(grid.array.astype(np.float32), grid.spacing_mm, grid.affine)

    def _read_label(self, case: Case) -> Grid:
        grid = self._grid(case, "label", "iu")
        return Grid(grid.array.astype(np.int32), grid.spacing_mm, grid.affine)

    def _read_scribble(self, case: Case) -> np.ndarray | None:
        array = _read_array(case.image_path, "scribble", "iu", is_optional=True)
        if array is None:
            return None
        highest = self.dataset.num_classes  # stands for "not annotated"
        if array.min() < 0 or array.max() > highest:
            raise DataError(
                case.image_path,
                expected=f"scribble values 0 to {highest} ({highest} = not annotated)",
                found=f"{array.min()} to {array.max()}",
                remedy="Correct the scribble or set `num_classes`.",
            )
        return np.ascontiguousarray(array.transpose(2, 1, 0), dtype=np.uint8)


def _read_array(path: Path, key: str, kinds: str, *, is_optional: bool = False) -> np.ndarray | None:
    """Reads the (Z, Y, X) array `key` of an .h5 file; None if it is optional and absent."""
    import h5py

    remedy = "Get a fresh copy of the file, or leave the case out."
    try:
        with h5py.File(path, "r") as file:
            if key not in file and is_optional:
                return None
            item = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
            is_array = isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in kinds
            if not is_array or item.external or not 0 < item.size * item.dtype.itemsize <= _MAX_BYTES:
                found = f"{item!r}" if item is not None else f"keys {', '.join(sorted(file)) or 'none'}"
                raise DataError(path, expected=f"a 3-D array `{key}` (z, y, x)", found=found, remedy=remedy)
            return item[()]
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(path, expected="an .h5 file", found="no such file", remedy=remedy) from error
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, ValueError, ... for damaged files
        if isinstance(error, OSError) and error.errno:  # for damage it has none; its text is many lines
            raise access_error(OSError(error.errno, os.strerror(error.errno)), path) from error
        raise DataError(path, expected="an intact .h5 file", found=f"damage ({error})", remedy=remedy) from error


def _read_table(path: Path, how_to_get: str) -> dict[str, Mapping[str, str]]:
    if not path.is_file():
        expected = f"a csv table with the columns {', '.join(_COLUMNS)} (`spacing_table`)"
        raise DataError(path, expected=expected, found="no such file", remedy=how_to_get)
    with readable(path), open(path, newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    problems = [f"no column {name}" for name in _COLUMNS if rows and name not in rows[0]]
    problems += ["no rows"] if not rows else []
    if not problems:
        problems = [f"line {line}: {text}" for line, row in enumerate(rows, 2) for text in _row_problems(row)]
        names = [row["volume"] for row in rows if row["volume"]]
        problems += [f"{name} occurs twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if problems:
        found = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        expected = f"one complete row per volume with {', '.join(_COLUMNS)}"
        raise DataError(path, expected=expected, found=found, remedy="Correct the table.")
    return {row["volume"].lower(): row for row in rows}


def _row_problems(row: Mapping[str, str]) -> list[str]:
    problems = [] if row["volume"] else ["no volume"]
    problems += [] if row["phase"] in ("ED", "ES") else [f"phase {row['phase']!r} instead of ED or ES"]
    for column in _SPACING:
        try:
            is_good = math.isfinite(float(row[column])) and 1e-3 <= float(row[column]) <= 1e3
        except (TypeError, ValueError):
            is_good = False
        problems += [] if is_good else [f"{column} = {row[column]!r}"]
    return problems
