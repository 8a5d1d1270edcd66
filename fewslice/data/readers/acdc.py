"""ACDC's patient folders.

    patient001/Info.cfg                        ED: 1, ES: 12, ...
               patient001_frame01.nii.gz       image
               patient001_frame01_gt.nii.gz    mask
               patient001_frame12.nii.gz, ...

Without Info.cfg the lower frame is end-diastole (ED), the higher one end-systole (ES).
"""

from __future__ import annotations

import re
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.readers.acdc_info import facts_of_info, phases_of_info
from fewslice.data.readers.base import READERS, Reader, first_existing, visible
from fewslice.data.volume import Case

_FOLDER = re.compile(r"patient(\d+)", re.IGNORECASE)
_IMAGE = re.compile(r"(patient\d+_frame)(\d+)\.nii(\.gz)?", re.IGNORECASE)


@READERS.register("acdc")
class AcdcReader(Reader):
    """Reads ACDC in its own layout; case ids are "001_ED", "001_ES"."""

    expects = "folders patient001, patient002, ... with Info.cfg, patient001_frame01.nii.gz and ..._gt.nii.gz"

    def _find(self) -> list[Case]:
        cases = []
        for folder in visible(self.folder):
            match = _FOLDER.fullmatch(folder.name)
            if match and folder.is_dir():
                cases += self._patient(folder, match[1])
            elif folder.is_dir():
                self.notes.append(f"{folder} is no patient folder (patient<digits>) and was passed over")
        return cases

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns diagnosis group, height and weight as far as Info.cfg names them; {} without one."""
        info = case.image_path.parent / "Info.cfg"
        return facts_of_info(info) if info.is_file() else {}

    def _patient(self, folder: Path, patient_id: str) -> list[Case]:
        frames = _frames_on_disk(folder)
        phases = _phases(folder / "Info.cfg", frames)
        if not frames:
            self.notes.append(f"{folder} holds no patient*_frame*.nii.gz and was passed over")
            return []
        cases = []
        for phase, frame in phases.items():
            stem = f"patient{patient_id}_frame{frame:02d}"
            image = frames.get(frame, folder / f"{stem}.nii.gz")
            name = _IMAGE.fullmatch(image.name)
            label = first_existing(folder, f"{name[1]}{name[2]}_gt")
            label = label if label.exists() else None
            cases.append(Case(f"{patient_id}_{phase}", patient_id, phase, image, label))
        return cases


def _frames_on_disk(folder: Path) -> dict[int, Path]:
    frames: dict[int, Path] = {}
    for path in visible(folder):
        match = _IMAGE.fullmatch(path.name)
        if match and path.is_file():
            other = frames.setdefault(int(match[2]), path)
            if other is not path:
                raise DataError(
                    folder,
                    expected="one image per frame",
                    found=f"{other.name} and {path.name}",
                    remedy="Remove one of them.",
                )
    return frames


def _phases(info: Path, frames: dict[int, Path]) -> dict[str, int]:
    """Returns phase -> frame number from Info.cfg, or from the order of the frames if there is none."""
    if info.is_file():
        return phases_of_info(info)
    if len(frames) > 2:
        raise DataError(
            info,
            expected="Info.cfg with the lines ED: <frame> and ES: <frame>",
            found=f"no such file, and {len(frames)} frames: {', '.join(map(str, sorted(frames)))}",
            remedy="Put ACDC's Info.cfg there, since only it tells which frames are ED and ES.",
        )
    return dict(zip(("ED", "ES"), sorted(frames), strict=False))
