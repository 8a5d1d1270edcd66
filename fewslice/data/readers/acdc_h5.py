"""ACDC as preprocessed .h5 volumes with scribbles (WSL4MIS).

    patient001_frame01.h5       `image`, `label` and perhaps `scribble`, axes z, y, x (or below volumes/)

The files hold no voxel sizes and no phases; both stand in the table `spacing_table` (below the data root).
"""

from __future__ import annotations

import re

from fewslice.core.errors import DataError, few
from fewslice.data.readers.acdc import facts_of_row
from fewslice.data.readers.base import READERS, visible
from fewslice.data.readers.h5_files import H5Reader
from fewslice.data.volume import Case

_VOLUME = re.compile(r"(patient(\d+)_frame\d+)\.h5", re.IGNORECASE)


@READERS.register("acdc_h5")
class AcdcH5Reader(H5Reader):
    """Reads ACDC's .h5 volumes; case ids are "001_ED", "001_ES"."""

    expects = "files patient001_frame01.h5, ... with `image`, `label` and perhaps `scribble`"
    has_phases = True

    def _find(self) -> list[Case]:
        folder = self.folder / "volumes" if (self.folder / "volumes").is_dir() else self.folder
        cases, unknown, table = [], [], self._table
        for path in visible(folder):
            match = _VOLUME.fullmatch(path.name)
            if match and match[1].lower() not in table:
                unknown.append(match[1])
            elif match:
                phase = table[match[1].lower()]["phase"]
                cases.append(Case(f"{match[2]}_{phase}", match[2], phase, path, path))
        if unknown:
            expected, found = f"one row for each volume in {folder}", f"none for {few(unknown)}"
            remedy = "Add the rows, or remove these volumes."
            raise DataError(self._table_path, expected=expected, found=found, remedy=remedy)
        return cases

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns diagnosis group, height and weight where the table has the columns group, height_cm, weight_kg."""
        return facts_of_row(self._row(case), self._table_path)
