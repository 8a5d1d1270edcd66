"""Shared by all readers: finding cases once, checking that image and label belong together, and label codes as classes.

A layout's module says where the files are (`_find`); this class validates what it finds and reads.
"""

from __future__ import annotations

import abc
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.core.errors import DataError, is_utf8
from fewslice.core.registry import Registry
from fewslice.data.io.access import readable
from fewslice.data.io.nifti import Grid, read_nifti
from fewslice.data.scribbles import case_generator, simulate_scribbles
from fewslice.data.volume import Case, Volume
from fewslice.settings.datasets import DatasetConfig

READERS = Registry("layout")
_LARGEST_SPAN = 1 << 20  # of label codes that are counted in a table

SPACING_TOLERANCE_MM = 1e-3
AFFINE_TOLERANCE_MM = 1e-2


class Reader(abc.ABC):
    """Finds and reads the volumes of a dataset in one folder layout.

    Args:
        dataset: Settings of the dataset.
        root: Folder below which all datasets lie; default that of `dataset`.

    Attributes:
        folder: Where the scans are expected.
        notes: Text on files that `cases` passed over.
    """

    expects: str  # what should be in the folder, in words; set by each layout
    unknown_codes = "error"  # label codes that the label map lacks: "error" or "background"

    def __init__(self, dataset: DatasetConfig, root: Path | None = None):
        self.dataset = dataset
        self.root = Path(root if root is not None else dataset.data_root).absolute()
        self.folder = self.root / dataset.data_path_tr
        self.notes: list[str] = []

    @abc.abstractmethod
    def _find(self) -> list[Case]:
        """Returns every volume below `self.folder`, in any order; the folder exists."""

    def cases(self) -> list[Case]:
        """Returns every volume of the dataset, sorted by case id. Reads no voxels.

        Raises:
            DataError: the folder is missing, cannot be read or holds no volume, or two volumes have the same id.
        """
        with readable(self.folder):
            return list(self._cases)

    @cached_property
    def _cases(self) -> list[Case]:
        if not self.folder.is_dir():
            raise self._nothing("no such folder" if not self.folder.exists() else "a file")
        cases = sorted(self._find(), key=lambda case: case.case_id)
        if not cases:
            raise self._nothing("no volume in this folder")
        for case, other in itertools.pairwise(cases):
            if case.case_id == other.case_id:
                found = f"two for {case.case_id}: {case.image_path} and {other.image_path}"
                raise DataError(self.folder, expected="one image per volume", found=found, remedy="Remove one of them.")
        return cases

    def read(self, case: Case, *, with_label: bool = True, with_scribble: bool | None = None) -> Volume:
        """Reads and checks one volume.

        Args:
            case: One of `cases()`.
            with_label: Read the label too.
            with_scribble: Read the scribble, or make it from the label where the dataset's `scribbles` are simulated;
                there must be one. None: with the label, where the files hold one.

        Raises:
            DataError: a file is missing, unreadable or inconsistent; the first problem if there are several.
        """
        volume, problems = self.examine(case, with_label=with_label, with_scribble=with_scribble)
        if volume is None:
            raise problems[0]
        return volume

    def examine(
        self, case: Case, *, with_label: bool = True, with_scribble: bool | None = None
    ) -> tuple[Volume | None, list[DataError]]:
        """Returns the volume as `read` does, or None and everything that is wrong with it."""
        problems: list[DataError] = []
        is_simulated = self.dataset.scribbles == "simulated"
        image = _collect(problems, self._read_image, case)
        if image is not None:
            problems += _channel_problems(case, image, self.dataset.num_channels)
        label, scribble, notes = None, None, ()
        if with_label or (with_scribble and is_simulated):
            codes = _collect(problems, self._read_label, case)
            if codes is not None:
                problems += _pair_problems(case, image, codes)
                label, notes = _collect(problems, self._to_classes, case, codes) or (None, ())
        if not is_simulated and (with_label if with_scribble is None else with_scribble):
            scribble = _collect(problems, self._checked_scribble, case, image, bool(with_scribble))
        if problems:
            return None, problems
        if with_scribble and is_simulated:
            scribble = simulate_scribbles(label, self.dataset.num_classes, rng=case_generator(case.case_id))
        kept = label if with_label else None
        return Volume(case, image.array, kept, scribble, image.spacing_mm, image.affine, notes, image.header), []

    def has_scribble(self, case: Case) -> bool:
        """Whether the files hold a scribble of a case, reading no voxels; False if that is unknown."""
        return False

    def source_files(self, case: Case, *, with_label: bool = True) -> list[Path]:
        """Returns the files whose content decides what `read` returns; scribbles belong to the label."""
        files = [case.image_path] + ([case.label_path] if with_label and case.label_path else [])
        return list(dict.fromkeys(files))

    def facts(self, case: Case) -> dict[str, object]:
        """Returns everything but the content of `source_files` that decides the result of `read`, as JSON."""
        return {}

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns facts about the patient: "group" (diagnosis), "height_cm", "weight_kg", or less."""
        return {}

    def _read_image(self, case: Case) -> Grid:
        return read_nifti(case.image_path, channel=self.dataset.image_channel)

    def _read_label(self, case: Case) -> Grid:
        if case.label_path is None:
            raise DataError(
                case.image_path,
                expected=f"a label for case {case.case_id} ({self.expects})",
                found="an image without a label",
                remedy="Put the label there, or choose only labelled patients for training and testing.",
            )
        return read_nifti(case.label_path, is_label=True)

    def _read_scribble(self, case: Case) -> np.ndarray | None:
        return None

    def _checked_scribble(self, case: Case, image: Grid | None, is_needed: bool) -> np.ndarray | None:
        scribble = self._read_scribble(case)
        path = case.label_path or case.image_path
        if scribble is None and is_needed:
            raise DataError(
                path,
                expected=f"scribbles of case {case.case_id}",
                found="none in its files",
                remedy='Set `scribbles = "simulated"` in the init file (or --set scribbles=simulated) to make them '
                "from the label, or train with masks.",
            )
        if scribble is not None and image is not None and scribble.shape != image.array.shape[:3]:
            expected = f"scribbles of shape {image.array.shape[:3]}, as the image {case.image_path}"
            remedy = "Draw the scribbles on the grid of the image."
            raise DataError(path, expected=expected, found=f"shape {scribble.shape}", remedy=remedy)
        return scribble

    def _to_classes(self, case: Case, codes: Grid) -> tuple[np.ndarray, tuple[str, ...]]:
        is_lenient = self.unknown_codes == "background"
        return _to_classes(codes.array, case.label_path, self.dataset, unknown_is_background=is_lenient)

    def _nothing(self, found: str) -> DataError:
        remedy = f"{self.dataset.how_to_get.rstrip('.')}. FEWSLICE_DATA or --data_root sets the data root "
        return DataError(self.folder, expected=self.expects, found=found, remedy=f"{remedy}(now {self.root}).")


def _collect(problems: list[DataError], function: Any, case: Case, *args: Any) -> Any:
    try:
        with readable(case.image_path):
            return function(case, *args)
    except DataError as error:
        problems.append(error)
        return None


def _channel_problems(case: Case, image: Grid, num_channels: int) -> Iterator[DataError]:
    """Yields the difference between the channels of an image and those that the dataset announces."""
    found = image.array.shape[3] if image.array.ndim == 4 else 1
    if found != num_channels:
        expected = f"{num_channels} channel{'s' if num_channels > 1 else ''} (`num_channels`)"
        remedy = f"Set `num_channels = {found}` in the init file."
        yield DataError(case.image_path, expected=expected, found=str(found), remedy=remedy)


def _pair_problems(case: Case, image: Grid | None, label: Grid) -> Iterator[DataError]:
    """Yields what keeps image and label from lying on the same grid."""
    if image is None:
        return
    beside = f"as its image {case.image_path}"
    remedy = "Export image and label on the same grid (resample the label by nearest neighbour)."
    if image.array.shape[:3] != label.array.shape:  # colour images have a fourth axis
        expected, found = f"shape {image.array.shape[:3]}, {beside}", f"shape {label.array.shape}"
        yield DataError(case.label_path, expected=expected, found=found, remedy=remedy)
    if np.abs(np.subtract(image.spacing_mm, label.spacing_mm)).max() > SPACING_TOLERANCE_MM:
        expected, found = f"voxels of {image.spacing_mm} mm, {beside}", f"{label.spacing_mm} mm"
        yield DataError(case.label_path, expected=expected, found=found, remedy=remedy)
    difference = float(np.abs(image.affine - label.affine).max())
    if difference > AFFINE_TOLERANCE_MM:
        expected = f"the affine {image.affine[:3].round(4).tolist()}, {beside}"
        found = f"{label.affine[:3].round(4).tolist()}, which differs by up to {difference:.4g}"
        yield DataError(case.label_path, expected=expected, found=found, remedy=remedy)


def _to_classes(
    codes: np.ndarray, path: Path, dataset: DatasetConfig, *, unknown_is_background: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Translates label codes and refuses those that have no meaning.

    Args:
        codes: (X, Y, Z) int32.
        path: The label file, for messages.
        dataset: Its `label_map`, empty if codes are classes, and `num_classes` count. Code 0 is background unless the
            map lists it.
        unknown_is_background: Codes without a class become background, with a note. Files that hold nothing
            but classes are then taken as they are, since they were translated before.

    Returns:
        (X, Y, Z) uint8 classes, and notes on what was changed.

    Raises:
        DataError: codes without a class; lists them with their counts.
    """
    values, counts = _histogram(codes)
    label_map, num_classes = dataset.label_map, dataset.num_classes
    known = {0: 0, **dict(label_map)} if label_map else {code: code for code in range(num_classes)}
    is_translated = values[0] >= 0 and values[-1] < num_classes
    if unknown_is_background and is_translated and not known.keys() >= set(values):
        known = {code: code for code in range(num_classes)}
    unknown = {value: count for value, count in zip(values, counts, strict=True) if value not in known}
    listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(unknown.items())[:10])
    listed += f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    is_foreign = not any(known.get(value) for value in values)
    if unknown and (not unknown_is_background or is_foreign):
        raise DataError(
            path,
            expected=f"label values {_ranges(known)} ({'`label_map`' if label_map else '`num_classes`'})",
            found=f"also {listed}",
            remedy="Correct the file, or give every code a class: --label_map=205:1,420:2 for add_dataset.py, or "
            "`label_map` (code in the file -> class) of a dataset that is there.",
        )
    classes = np.zeros(codes.shape, np.uint8)
    for value in values:
        if known.get(value):
            classes[codes == value] = known[value]
    notes = (f"label values {listed} have no class and were read as background",) if unknown else ()
    return classes, notes


def _histogram(codes: np.ndarray) -> tuple[list[int], list[int]]:
    """Returns the codes that occur, rising, and how often each does."""
    low, high = int(codes.min()), int(codes.max())
    if high - low > _LARGEST_SPAN:
        values, counts = np.unique(codes, return_counts=True)
    else:
        counts = np.bincount((codes - low).ravel())
        values = np.flatnonzero(counts)
        counts, values = counts[values], values + low
    return values.tolist(), counts.tolist()


def _ranges(known: dict[int, int]) -> str:
    codes = sorted(known)
    if codes == list(range(len(codes))):
        return f"0 to {codes[-1]}"
    return ", ".join(str(code) for code in codes)


def visible(folder: Path) -> list[Path]:
    """Returns the entries of a folder, sorted, without hidden ones (temporary files, `._*` of archives).

    Raises:
        DataError: a name that is no UTF-8, which no table, list or log could hold.
    """
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if strange := [os.fsencode(path.name) for path in found if not is_utf8(path.name)]:
        raise DataError(
            folder,
            expected="file names in UTF-8",
            found=f"{len(strange)} in another encoding (bytes after \\x): {', '.join(map(repr, strange[:3]))}",
            remedy="Rename them with plain letters and digits, image and label alike (convmv renames whole folders).",
        )
    return found


def nifti_stem(path: Path) -> str | None:
    """Returns the name without .nii or .nii.gz in small or capital letters, in Unicode's form NFC, or None."""
    match = re.fullmatch(r"(.+)\.nii(\.gz)?", unicodedata.normalize("NFC", path.name), re.IGNORECASE)
    return match[1] if match else None


def nifti_files(folder: Path) -> dict[str, Path]:
    """Returns stem -> NIfTI file of a folder, sorted; {} if there is no folder. Raises `DataError` for twins."""
    found: dict[str, Path] = {}
    for path in visible(folder) if folder.is_dir() else ():
        stem = nifti_stem(path)
        if stem and found.setdefault(stem, path) is not path:
            twins = f"{found[stem].name} and {path.name}"
            raise DataError(folder, expected="one file per volume", found=twins, remedy="Move one elsewhere.")
    return found


def existing(folder: Path, stem: str) -> Path | None:
    """Returns the NIfTI file of a folder with this stem, even a link that leads nowhere; None if there is none."""
    found = [path for path in (folder / f"{stem}.nii", folder / f"{stem}.nii.gz") if os.path.lexists(path)]
    return found[0] if len(found) == 1 else nifti_files(folder).get(stem)


def first_existing(folder: Path, stem: str) -> Path:
    """Returns `existing`, or `folder/stem.nii.gz`, so that reading it says that it is missing."""
    return existing(folder, stem) or folder / f"{stem}.nii.gz"


def few(items: Sequence[str], shown: int = 12) -> str:
    """Returns the first items and how many more there are."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")
