"""ACDC as preprocessed .h5 volumes with scribbles (WSL4MIS).

    patient001_frame01.h5       `image`, `label` and perhaps `scribble`, axes z, y, x (or below volumes/)

The files hold no voxel sizes; the table `spacing_table` (below the data root) has one row per volume with the
columns volume, phase, spacing_x_mm, spacing_y_mm and spacing_z_mm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewslice.core.errors import DataError
from fewslice.data.readers.acdc_info import facts_of_row
from fewslice.data.readers.base import READERS, Grid, Reader, visible
from fewslice.data.readers.h5_files import holds, read_array, require_finite, require_scribble
from fewslice.data.readers.spacing_table import read_spacing_table, spacing_of
from fewslice.data.volume import Case

_VOLUME = re.compile(r"(patient(\d+)_frame\d+)\.h5", re.IGNORECASE)


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
        """Returns the voxel size from the table, which decides the result beside the files."""
        return {"spacing_mm": list(self._spacing(case))}

    def has_scribble(self, case: Case) -> bool:
        """Whether the volume's file holds a scribble."""
        return holds(case.image_path, "scribble") is True

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns diagnosis group, height and weight where the table has the columns group, height_cm, weight_kg."""
        return facts_of_row(self._row(case), self._table_path())

    def _table_path(self) -> Path:
        return self.root / self.dataset.spacing_table

    def _table(self) -> Mapping[str, Mapping[str, str]]:
        if not hasattr(self, "_rows"):
            self._rows = read_spacing_table(self._table_path(), self.dataset.how_to_get, with_phase=True)
        return self._rows

    def _row(self, case: Case) -> Mapping[str, str]:
        return self._table()[case.image_path.name[: -len(".h5")].lower()]

    def _spacing(self, case: Case) -> tuple[float, float, float]:
        return spacing_of(self._row(case))

    def _grid(self, case: Case, key: str, kinds: str) -> Grid:
        spacing = self._spacing(case)
        array = np.ascontiguousarray(read_array(case.image_path, key, kinds).transpose(2, 1, 0))
        return Grid(array, spacing, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))

    def _read_image(self, case: Case) -> Grid:
        grid = self._grid(case, "image", "fiu")
        require_finite(grid.array, case.image_path)
        return Grid(grid.array.astype(np.float32), grid.spacing_mm, grid.affine)

    def _read_label(self, case: Case) -> Grid:
        grid = self._grid(case, "label", "iu")
        return Grid(grid.array.astype(np.int32), grid.spacing_mm, grid.affine)

    def _read_scribble(self, case: Case) -> np.ndarray | None:
        array = read_array(case.image_path, "scribble", "iu", is_optional=True)
        if array is None:
            return None
        require_scribble(array, case.image_path, self.dataset.num_classes)
        return np.ascontiguousarray(array.transpose(2, 1, 0), dtype=np.uint8)
