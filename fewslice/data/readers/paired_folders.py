"""A folder of images and a folder of labels whose files have the same names.

images/scan_a.nii.gz     (or scan_a_0000.nii.gz, one file per channel; .nrrd, .mha, ...; scan_a/ with a DICOM series)
labels/scan_a.nii.gz     (or scan_a.nrrd, scan_a.seg.nrrd of 3D Slicer, ...)
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from fewslice.core.errors import DataError, few
from fewslice.data.io.access import readable
from fewslice.data.io.itk import KINDS, files_of, read_image_file
from fewslice.data.io.pictures import label_name
from fewslice.data.readers.base import READERS, Grid, Reader, image_files, image_stem, scans_among, visible
from fewslice.data.volume import Case
from fewslice.settings.datasets import patient_of

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_MOST_CHANNELS = 4  # that names alone can tell; more need dataset.json or labels
_NUMBERS = 10  # so many files of each stem are numbered scans


@READERS.register("paired_folders")
class PairedFoldersReader(Reader):
    """Reads `images_dir` and `labels_dir` below the dataset's folder; the case id is the file's stem.

    `patient_pattern` takes the patient's id from the stem. A stem that ends with _ED or _ES has that phase. Files
    <stem>_0000, <stem>_0001, ... are the channels of one case where a label is called <stem>, where the dataset.json
    beside the folders says so, or where the same few numbers from 0000 on occur for all stems; else each is a case.
    """

    expects = "a folder of images and a folder of labels with the same file names (`images_dir`, `labels_dir`)"

    def _find(self) -> list[Case]:
        return self._pairs((self.dataset.images_dir, self.dataset.labels_dir))

    def _pairs(self, *folders: tuple[str, str]) -> list[Case]:
        """Returns the cases of several (images, labels) folders, whose channels follow one rule."""
        images = self.folder / folders[0][0]
        if not images.is_dir():
            raise DataError(images, expected=self.expects, found="no such folder", remedy=self.dataset.how_to_get)
        pairs = [(image_files(self.folder / one), image_files(self.folder / other)) for one, other in folders]
        stems = {stem for files, _ in pairs for stem in files}
        labels = {stem for _, files in pairs for stem in files}
        bases = channel_bases(images, stems, labels, declared_channels(images.parent / "dataset.json"))
        channel, cases = self.dataset.image_channel, []
        for (files, own_labels), (folder, labels_dir) in zip(pairs, folders, strict=True):
            matches = {stem: _CHANNEL.fullmatch(stem) for stem in files if stem not in labels}
            base_of = {stem: match[1] for stem, match in matches.items() if match and match[1] in bases}
            for stem in dict.fromkeys(base_of.get(stem, stem) for stem in files):
                name = f"{stem}_{channel:04d}" if stem in bases and stem not in files else stem
                image = files.get(name, self.folder / folder / f"{name}.nii.gz")
                cases.append(self._case(stem, image, own_labels.get(stem)))
            if len(base_of) > len(set(base_of.values())):
                text = f"{len(base_of)} files are the channels of {len(set(base_of.values()))} volumes"
                self.notes.append(f"{folder}: {text}; channel _{channel:04d} is read (`image_channel`)")
            self.notes += [text for name in (folder, labels_dir) if (text := passed_over(self.folder / name))]
        return cases

    def _case(self, stem: str, image: Path, label: Path | None) -> Case:
        patient = patient_of(stem, self.dataset.patient_pattern)
        if not patient:
            expected = f"a name that fits `patient_pattern` {self.dataset.patient_pattern!r}"
            remedy = "Rename the file or change the pattern in the dataset's init file."
            raise DataError(image, expected=expected, found=f"the stem {stem!r}", remedy=remedy)
        phase = re.search(r"_(ED|ES)$", stem, re.IGNORECASE)
        phases = set(self.dataset.phases) | set(self.dataset.unlabeled_phases)
        return Case(stem, patient, phase[1].upper() if phase and phases != {""} else "", image, label)

    def new_label_path(self, case: Case) -> Path:
        return self.folder / self.dataset.labels_dir / label_name(case.case_id, case.image_path)

    def _read_image(self, case: Case) -> Grid:
        has_file_per_channel = image_stem(case.image_path, of_pictures=True) != case.case_id
        channel = 0 if has_file_per_channel else self.dataset.image_channel
        return read_image_file(case.image_path, channel=channel, num_channels=self.dataset.num_channels)


def channel_bases(folder: Path, stems: Set[str], labels: Set[str], declared: int = 0) -> set[str]:
    """Returns the stems <base> whose files <base>_0000, <base>_0001, ... are the channels of one case.

    `stems` and `labels` are those of all files; a stem that a label has is a case as it stands, whatever it ends with.
    `declared` is the number of channels that dataset.json names, 0 if there is none; `folder` is for messages.

    Raises:
        DataError: files that may be channels of one volume or volumes of their own.
    """
    matches = [match for stem in stems if (match := _CHANNEL.fullmatch(stem))]
    numbered = {match[1] for match in matches if match[0] in labels}
    groups: dict[str, set[int]] = {}
    for match in matches:
        if match[0] not in labels:
            groups.setdefault(match[1], set()).add(int(match[2]))
    found = groups.keys() & labels
    doubtful = found & (numbered | stems)
    known = {number for base in found for number in groups[base]} | set(range(declared))
    found |= {base for base in groups.keys() - numbered if groups[base] <= known}
    rest = groups.keys() - found - numbered
    sets = {frozenset(groups[base]) for base in rest}
    largest = max(map(max, sets), default=0)
    is_counted = sets == {frozenset(range(largest + 1))}
    if rest and (found or known or not numbered):
        if is_counted and not known and (largest == 0 or (len(rest) > 1 and largest < _MOST_CHANNELS)):
            found |= rest
        elif found or (len(rest) > 1 and largest < (_NUMBERS if is_counted else _MOST_CHANNELS)):
            doubtful |= rest
    doubtful |= found & stems
    if doubtful:
        raise DataError(
            folder,
            expected="files <name>_0000, <name>_0001, ... that are clearly channels of one volume, or clearly volumes",
            found=f"both may be meant: {few([f'{base}_{min(groups[base]):04d}' for base in sorted(doubtful)])}",
            remedy="If they are volumes, rename them (p01_0003 to p01-0003); if channels, give each volume the same "
            'numbers from 0000 on, or write {"channel_names": {"0": "T1", ...}} to dataset.json beside the folder.',
        )
    return found


def declared_channels(info: Path) -> int:
    """Returns how many channels a dataset.json names, 0 if there is no such file or entry."""
    content = read_info(info) if os.path.lexists(info) else {}
    names = content.get("channel_names") or content.get("modality")
    return len(names) if isinstance(names, Mapping) else 0


def passed_over(folder: Path) -> str:
    """Returns a note on what a folder holds beside scans and their voxels, "" if nothing."""
    there = visible(folder) if folder.is_dir() else []
    scans = {file for path in scans_among(there) for file in (path, *files_of(path))}
    others = [path for path in there if path not in scans]
    kinds = Counter("folders" if path.is_dir() else path.suffix.lower() or "without ending" for path in others)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    names = few([path.name for path in others], 3)
    return f"{folder.name}/: passed over: {listed} ({names}). Scans are {KINDS}" if others else ""


def read_info(path: Path) -> Mapping[str, Any]:
    """Returns the content of dataset.json, in any Unicode encoding. Raises `DataError` where it is no JSON object."""
    remedy = "Restore the file from the dataset's archive or a copy, or correct it: it lists the labels."
    try:
        with readable(path):
            info = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(path, expected="valid JSON", found=str(error), remedy=remedy) from error
    if not isinstance(info, Mapping):
        raise DataError(path, expected="a JSON object", found=type(info).__name__, remedy=remedy)
    return info
