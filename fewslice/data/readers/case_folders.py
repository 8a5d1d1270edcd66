"""One folder per volume: <id>/img.nii.gz and <id>/mask.nii.gz."""

from __future__ import annotations

from pathlib import Path

from fewslice.data.readers.base import READERS, Reader, existing, visible
from fewslice.data.volume import Case


@READERS.register("case_folders")
class CaseFoldersReader(Reader):
    """Reads <id>/img.nii.gz with <id>/mask.nii.gz; case id and patient id are the folder's name.

    Of a 4-D image the channel `image_channel` is read.
    """

    expects = "folders <id> with img.nii.gz and, if labelled, mask.nii.gz"
    label_stem = "mask"

    def new_label_path(self, case: Case) -> Path:
        return case.image_path.parent / f"{self.label_stem}.nii.gz"

    def _find(self) -> list[Case]:
        cases = []
        for folder in visible(self.folder):
            if not folder.is_dir():
                continue
            image, label = existing(folder, "img"), existing(folder, self.label_stem)
            if image or label:
                image = image or folder / "img.nii.gz"  # reading it says that it is missing
                cases.append(Case(folder.name, folder.name, "", image, label))
            else:
                self.notes.append(f"{folder} holds neither img nor {self.label_stem} and was passed over")
        return cases
