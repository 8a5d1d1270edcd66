"""Scans that belong to no dataset here, read as those of the dataset that a network was trained on."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.io.itk import KINDS, is_series
from fewslice.data.readers.base import Reader, scans_among
from fewslice.data.readers.paired_folders import PairedFoldersReader
from fewslice.data.volume import Case
from fewslice.settings.datasets import DatasetConfig


class LooseReader(PairedFoldersReader):
    """Reads the scans of a folder; <name>_0000, <name>_0001, ... are channels of one by the rule of paired folders."""

    expects = f"scans ({KINDS})"

    def __init__(self, dataset: DatasetConfig, folder: Path):
        folder = Path(os.path.abspath(folder))
        names = {"data_path_tr": ".", "images_dir": folder.name, "labels_dir": f"{folder.name}/.none"}
        super().__init__(dataclasses.replace(dataset, **names, patient_pattern="(.+)"), folder.parent)

    def _nothing(self, found: str) -> DataError:
        remedy = "Name the folder that holds the files themselves, or files, or a pattern such as 'scans/*/t1.nii.gz'."
        return DataError(self.folder / self.dataset.images_dir, expected=self.expects, found=found, remedy=remedy)


def find_scans(places: Sequence[str], dataset: DatasetConfig) -> list[tuple[Reader, Case]]:
    """Returns the scans that a user names, each with its reader. Opens none.

    Args:
        places: Folders, whose own files count, not those of folders in them; files; patterns with * or ?.
        dataset: How they are read.

    Raises:
        ConfigError: nothing there, or two scans of one name, whose results would have one name too.
        DataError: a folder without scans, or with files that may be channels of one scan or scans of their own.
    """
    found: list[tuple[Reader, Case]] = []
    for place in places:
        path = Path(place)
        matches = [path] if path.exists() or not glob.has_magic(place) else map(Path, sorted(glob.glob(place)))
        matches = list(matches)
        scans = scans_among(matches)
        names = [each for each in matches if each.is_dir() or each in scans]
        if not names:
            text = f"expected a folder, a file ({KINDS}) or a pattern with * or ?. Found: nothing of the kind."
            raise ConfigError(f"--images={place}: {text}")
        for each in names:
            is_folder = each.is_dir() and not is_series(each)
            reader, stem = LooseReader(dataset, each if is_folder else each.parent), scans.get(each)
            cases = reader.cases() if is_folder else [Case(stem, stem, "", each, None)]
            found += [(reader, case) for case in cases]
    places_of: dict[str, set[Path]] = {}
    for _, case in found:
        places_of.setdefault(case.case_id, set()).add(case.image_path.absolute())
    if twins := [paths for paths in places_of.values() if len(paths) > 1]:
        listed = " and ".join(map(str, sorted(twins[0])))
        raise ConfigError(f"{len(twins)} names occur twice, such as {listed}. Segment them into different --output.")
    return list({case.case_id: (reader, case) for reader, case in found}.values())
