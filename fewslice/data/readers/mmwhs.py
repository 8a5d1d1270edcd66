"""MM-WHS: the challenge's own names, or one folder per volume.

mr_train_1001_image.nii.gz, mr_train_1001_label.nii.gz     also in a subfolder mr_train/
1001/img.nii.gz, 1001/seg.nii.gz
"""

from __future__ import annotations

import re
from pathlib import Path

from fewslice.data.readers.base import READERS, existing, image_stem, visible
from fewslice.data.readers.case_folders import CaseFoldersReader
from fewslice.data.volume import Case

_OFFICIAL = re.compile(r"((?:mr|ct)_(?:train|test)_(\d+))_(image|label)", re.IGNORECASE)


@READERS.register("mmwhs")
class MmwhsReader(CaseFoldersReader):
    """Reads MM-WHS in either naming; case ids are "1001", ...

    Notes:
        Differs from the published code, which expects classes: codes are translated, others become
        background with a note, and masks that already hold nothing but classes are taken as they are.
    """

    expects = "mr_train_<id>_image.nii.gz and ..._label.nii.gz, or <id>/img.nii.gz and seg.nii.gz"
    label_stem = "seg"
    unknown_codes = "background"

    def _find(self) -> list[Case]:
        below = [path for path in visible(self.folder) if path.is_dir() and re.fullmatch("mr_(train|test)", path.name)]
        numbers: dict[tuple[Path, str], str] = {}
        for path in (path for folder in (self.folder, *below) for path in visible(folder)):
            match = _OFFICIAL.fullmatch(image_stem(path) or "")
            if match:
                numbers[path.parent, match[1]] = match[2]
        cases = []
        for (folder, stem), number in numbers.items():
            image = existing(folder, f"{stem}_image") or folder / f"{stem}_image.nii.gz"  # reading says it is missing
            cases.append(Case(number, number, "", image, existing(folder, f"{stem}_label")))
        return cases + super()._find()
