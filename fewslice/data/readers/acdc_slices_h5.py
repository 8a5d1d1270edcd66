"""ACDC as training slices and whole volumes in .h5 files, with scribbles (WSL4MIS).

ACDC_training_slices/patient001_frame01_slice_0.h5 ...   and perhaps patient001.cfg, the patient's Info.cfg
ACDC_training_volumes/patient081_frame01.h5 ...
ACDC_testing_volumes/patient101_frame01.h5 ...
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.readers.acdc import facts_of_info, facts_of_row, phases_of
from fewslice.data.readers.base import READERS, visible
from fewslice.data.readers.slices_h5 import SlicesH5Reader
from fewslice.data.volume import Case

_VOLUME = re.compile(r"patient(\d+)_frame(\d+)", re.IGNORECASE)


@READERS.register("acdc_slices_h5")
class AcdcSlicesH5Reader(SlicesH5Reader):
    """Reads what `SlicesH5Reader` reads; case ids are "001_ED", "001_ES".

    Which frame is end-diastole stands in patient001.cfg in one of the folders; without it the lower frame is.
    """

    expects = "training_slices/patient001_frame01_slice_0.h5, ..., training_volumes/patient081_frame01.h5, ..."

    def _find(self) -> list[Case]:
        patients: dict[str, dict[int, list[Path]]] = {}
        for name, paths in self._volumes.items():
            match = _VOLUME.fullmatch(name)
            if match:
                patients.setdefault(match[1], {})[int(match[2])] = paths
            else:
                self.notes.append(f"{paths[0]} is not named patient<digits>_frame<digits> and was passed over")
        cases = []
        for patient, frames in patients.items():
            for phase, frame in self._phases(patient, frames).items():
                cases.append(self._case(f"{patient}_{phase}", patient, phase, frames[frame]))
        return cases

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns diagnosis group, height and weight from patient001.cfg, or from such columns of `spacing_table`."""
        info = self._infos.get(_VOLUME.match(case.image_path.name)[1])
        return facts_of_info(info) if info else facts_of_row(self._row(case), self._table_path)

    @cached_property
    def _infos(self) -> dict[str, Path]:
        """Patient -> its .cfg file."""
        paths = (path for folder in self._folders() for path in visible(folder))
        found = ((re.fullmatch(r"patient(\d+)\.cfg", path.name, re.IGNORECASE), path) for path in paths)
        return {match[1]: path for match, path in found if match}

    def _phases(self, patient: str, frames: dict[int, list[Path]]) -> dict[str, int]:
        """Returns phase -> frame for the frames that are there."""
        info = self._infos.get(patient, self.folder / f"patient{patient}.cfg")
        phases = phases_of(info, frames)
        if not set(frames) <= set(phases.values()):
            expected = f"the frames of this patient that are here: {', '.join(map(str, sorted(frames)))}"
            found = ", ".join(f"{phase}: {frame}" for phase, frame in phases.items())
            raise DataError(info, expected=expected, found=found, remedy="Put the right files together.")
        return {phase: frame for phase, frame in phases.items() if frame in frames}
