"""ACDC's patient folders.

    patient001/Info.cfg                        ED: 1, ES: 12, Group: DCM, Height: 170.0, Weight: 80.0, ...
               patient001_frame01.nii.gz       image
               patient001_frame01_gt.nii.gz    mask
               patient001_frame12.nii.gz, ...

Without Info.cfg the lower frame is end-diastole (ED), the higher one end-systole (ES).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.io.access import readable
from fewslice.data.readers.base import READERS, Reader, existing, image_stem, visible
from fewslice.data.volume import Case

_RESTORE = "Restore the file from ACDC's archive."
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

    def new_label_path(self, case: Case) -> Path:
        return case.image_path.parent / f"{image_stem(case.image_path)}_gt.nii.gz"

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns diagnosis group, height and weight as far as Info.cfg names them; {} without one."""
        info = case.image_path.parent / "Info.cfg"
        return facts_of_info(info) if info.is_file() else {}

    def _patient(self, folder: Path, patient_id: str) -> list[Case]:
        frames = _frames_on_disk(folder)
        phases = phases_of(folder / "Info.cfg", frames)
        if not frames:
            self.notes.append(f"{folder} holds no patient*_frame*.nii.gz and was passed over")
            return []
        cases = []
        for phase, frame in phases.items():
            stem = f"patient{patient_id}_frame{frame:02d}"
            image = frames.get(frame, folder / f"{stem}.nii.gz")
            name = _IMAGE.fullmatch(image.name)
            label = existing(folder, f"{name[1]}{name[2]}_gt")
            cases.append(Case(f"{patient_id}_{phase}", patient_id, phase, image, label))
        return cases


def _frames_on_disk(folder: Path) -> dict[int, Path]:
    frames: dict[int, Path] = {}
    for path in visible(folder):
        match = _IMAGE.fullmatch(path.name)
        if match and not path.is_dir():
            other = frames.setdefault(int(match[2]), path)
            if other is not path:
                twins = f"{other.name} and {path.name}"
                raise DataError(folder, expected="one image per frame", found=twins, remedy="Remove one of them.")
    return frames


def phases_of(info: Path, frames: Iterable[int]) -> dict[str, int]:
    """Returns phase -> frame number from Info.cfg, or from the order of the frames if there is none.

    Raises:
        DataError: one of the two lines is missing or no number, both name the same frame, or there is no file and
            there are more than two frames.
    """
    if not os.path.lexists(info):
        frames = sorted(frames)
        if len(frames) > 2:
            raise DataError(
                info,
                expected=f"{info.name} with the lines ED: <frame> and ES: <frame>",
                found=f"no such file, and {len(frames)} frames: {', '.join(map(str, frames))}",
                remedy="Put the patient's Info.cfg of ACDC there under this name, since only it tells which frames are "
                "ED and ES.",
            )
        return dict(zip(("ED", "ES"), frames, strict=False))
    lines = _lines(info)
    phases = {phase: int(lines[phase]) for phase in ("ED", "ES") if re.fullmatch(r"\d+", lines.get(phase, ""))}
    if len(phases) < 2 or phases["ED"] == phases["ES"]:
        expected = "the lines ED: <frame> and ES: <frame>, two different frames"
        found = ", ".join(f"{phase}: {frame}" for phase, frame in phases.items()) or "neither"
        raise DataError(info, expected=expected, found=found, remedy=_RESTORE)
    return phases


def facts_of_info(info: Path) -> dict[str, str | float]:
    """Returns those of "group" (such as "DCM"), "height_cm" and "weight_kg" that Info.cfg names.

    Raises:
        DataError: a height or weight is no positive number.
    """
    lines = _lines(info)
    names = {"group": "Group", "height_cm": "Height", "weight_kg": "Weight"}
    return facts_of_row({name: lines.get(key, "") for name, key in names.items()}, info)


def facts_of_row(row: Mapping[str, str], path: Path) -> dict[str, str | float]:
    """Returns the same from the columns group, height_cm and weight_kg of a row of the spacing table."""
    texts = {name: (row.get(name) or "").strip() for name in ("group", "height_cm", "weight_kg")}
    facts: dict[str, str | float] = {name: text for name, text in texts.items() if text}
    for name in [name for name in facts if name != "group"]:
        try:
            facts[name] = float(facts[name])
        except ValueError:
            facts[name] = math.nan
        if not 0 < facts[name] < math.inf:
            raise DataError(path, expected=f"a positive number as {name}", found=repr(texts[name]), remedy=_RESTORE)
    return facts


def _lines(info: Path) -> dict[str, str]:
    with readable(info):
        text = info.read_text(encoding="utf-8", errors="replace")
    return dict(re.findall(r"(?m)^[ \t]*(\w+)[ \t]*:[ \t]*(.*?)[ \t\r]*$", text))
