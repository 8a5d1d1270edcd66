"""A folder of images and a folder of labels whose files have the same names.

images/scan_a.nii.gz     (or scan_a_0000.nii.gz, one file per channel)
labels/scan_a.nii.gz
"""

from __future__ import annotations

import re
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.io.nifti import read_nifti
from fewslice.data.readers.base import READERS, Grid, Reader, first_existing, nifti_stem, visible
from fewslice.data.volume import Case
from fewslice.settings.datasets import patient_of

_CHANNEL = re.compile(r"(.+)_(\d{4})")


@READERS.register("paired_folders")
class PairedFoldersReader(Reader):
    """Reads `images_dir` and `labels_dir` below the dataset's folder; the case id is the file's stem.

    `patient_pattern` takes the patient's id from the stem. A stem that ends with _ED or _ES has that phase.
    """

    expects = "a folder of images and a folder of labels with the same file names (`images_dir`, `labels_dir`)"

    def _find(self) -> list[Case]:
        return self._pairs(self.dataset.images_dir, self.dataset.labels_dir)

    def _pairs(self, images_dir: str, labels_dir: str) -> list[Case]:
        images, labels = self.folder / images_dir, self.folder / labels_dir
        if not images.is_dir():
            raise DataError(images, expected=self.expects, found="no such folder", remedy=self.dataset.how_to_get)
        stems = [stem for stem in map(nifti_stem, visible(images)) if stem]
        cases = []
        for stem, file_stem in _by_case(stems, labels, self.dataset.image_channel).items():
            label = first_existing(labels, stem)
            image = first_existing(images, file_stem)
            cases.append(self._case(stem, image, label if label.exists() else None))
        return cases

    def _case(self, stem: str, image: Path, label: Path | None) -> Case:
        patient = patient_of(stem, self.dataset.patient_pattern)
        if not patient:
            raise DataError(
                image,
                expected=f"a name that fits `patient_pattern` {self.dataset.patient_pattern!r}",
                found=f"the stem {stem!r}",
                remedy="Rename the file or change the pattern in the dataset's init file.",
            )
        phase = re.search(r"_(ED|ES)$", stem, re.IGNORECASE)
        phases = set(self.dataset.phases) | set(self.dataset.unlabeled_phases)
        return Case(stem, patient, phase[1].upper() if phase and phases != {""} else "", image, label)

    def _read_image(self, case: Case) -> Grid:
        has_file_per_channel = nifti_stem(case.image_path) != case.case_id
        channel, is_colour = 0 if has_file_per_channel else self.dataset.image_channel, self.dataset.num_channels == 3
        return read_nifti(case.image_path, channel=channel, in_colour=is_colour)


def _by_case(stems: list[str], labels: Path, channel: int) -> dict[str, str]:
    """Returns case -> stem of its image file. One file per channel ("_0000") is one case.

    A stem that a label has is a case as it stands, whatever it ends with.
    """
    cases: dict[str, str] = {}
    for stem in stems:
        match = _CHANNEL.fullmatch(stem)
        if match and not first_existing(labels, stem).exists():
            cases[match[1]] = f"{match[1]}_{channel:04d}"
        else:
            cases[stem] = stem
    return cases
