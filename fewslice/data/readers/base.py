"""Shared by all readers: finding cases once, checking that image and label belong together, and label codes as classes.

A layout's module says where the files are (`_find`); this class validates what it finds and reads.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.core.errors import ConfigError, DataError, few
from fewslice.core.registry import Registry
from fewslice.data.io import geometry
from fewslice.data.io.access import readable, visible
from fewslice.data.io.itk import files_of, is_series, read_image_file, segment_names
from fewslice.data.io.nifti import Grid
from fewslice.data.io.pictures import is_picture
from fewslice.data.painted import read_segments
from fewslice.data.scribbles import case_generator, simulate_scribbles
from fewslice.data.volume import Case, Volume
from fewslice.settings.datasets import DatasetConfig

READERS = Registry("layout")
_LARGEST_SPAN = 1 << 20  # of label codes that are counted in a table


class Reader(abc.ABC):
    """Finds and reads the volumes of a dataset in one folder layout.

    Args:
        dataset: Its settings.
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
        label, scribble, instances, notes = None, None, None, ()
        if with_label or (with_scribble and is_simulated):
            codes = _collect(problems, self._read_label, case)
            if codes is not None:
                if image is not None:
                    codes = _collect(problems, self._on_image, case, image, codes) or codes
                if self.dataset.label_values == "instances":
                    codes, instances = _collect(problems, self._numbered, case, codes) or (None, None)
                label, notes = (codes and _collect(problems, self._to_classes, case, codes)) or (None, ())
        if not is_simulated and (with_label if with_scribble is None else with_scribble):
            scribble = _collect(problems, self._checked_scribble, case, image, bool(with_scribble))
        if problems:
            return None, problems
        if with_scribble and is_simulated:
            scribble = simulate_scribbles(label, self.dataset.num_classes, rng=case_generator(case.case_id))
        arrays = (image.array, label, scribble, instances)
        arrays = arrays if with_label else (image.array, None, scribble, None)
        return self._turned(case, image, arrays, (*image.notes, *notes)), []

    def _on_image(self, case: Case, image: Grid, label: Grid) -> Grid:
        if not segment_names(case.label_path):
            return on_grid_of(image, label, case.label_path, name=f"its image {case.image_path}")
        classes = read_segments(case.label_path, image, case, self.dataset.struct_name)
        code_of = {label: code for code, label in self.dataset.label_map if label}
        codes = np.array([code_of.get(label, label) for label in range(classes.max() + 1)], np.int32)
        return dataclasses.replace(image, array=codes[classes])

    def _turned(self, case: Case, image: Grid, arrays: tuple[np.ndarray | None, ...], notes: tuple[str, ...]) -> Volume:
        """Returns the volume with the axes of the dataset's `orientation`; all lies as the image's header says."""
        is_canonical = self.dataset.orientation == "canonical" and geometry.has_orientation(image.header)
        axes = geometry.canonical_axes(image.affine) if is_canonical else geometry.STORED
        *arrays, instances = (None if array is None else geometry.turned(array, axes) for array in arrays)
        scaled = geometry.with_scale(image.affine, image.spacing_mm) if is_canonical else image.affine
        affine = geometry.turned_affine(scaled, axes, image.array.shape)
        where = (geometry.permuted(image.spacing_mm, axes), affine, notes, image.header, axes)
        return Volume(case, *arrays, *where, instances)

    def has_scribble(self, case: Case) -> bool:
        """Whether the files hold a scribble of a case, reading no voxels; False if that is unknown."""
        return False

    def source_files(self, case: Case, *, with_label: bool = True) -> list[Path]:
        """Returns the files whose content decides what `read` returns; scribbles belong to the label."""
        paths = [case.image_path] + ([case.label_path] if with_label and case.label_path else [])
        return list(dict.fromkeys(file for path in paths for file in files_of(path)))

    def new_label_path(self, case: Case) -> Path:
        """Returns where a label of a case is looked for that has none. Raises `ConfigError` where there is no place."""
        raise ConfigError(
            f"{self.dataset.name}: labels cannot be added to files of the layout {self.dataset.layout!r}."
        )

    def facts(self, case: Case) -> dict[str, object]:
        """Returns everything but the content of `source_files` that decides the result of `read`, as JSON."""
        return {"files": [path.name for path in files_of(case.image_path)]} if is_series(case.image_path) else {}

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns facts about the patient: "group" (diagnosis), "height_cm", "weight_kg", or less."""
        return {}

    def person(self, case: Case) -> str:
        """Returns whom the case is of, where split lists name images and not patients."""
        return case.patient_id

    def is_official_test(self, case: Case) -> bool:
        """Whether the files say that a case is for the test only."""
        return False

    def _read_image(self, case: Case) -> Grid:
        channel, count = self.dataset.image_channel, self.dataset.num_channels
        return read_image_file(case.image_path, channel=channel, num_channels=count)

    def _read_label(self, case: Case) -> Grid:
        if case.label_path is None:
            expected = f"a label for case {case.case_id} ({self.expects})"
            remedy = "Put the label there, or choose only labelled patients for training and testing."
            raise DataError(case.image_path, expected=expected, found="an image without a label", remedy=remedy)
        if segment_names(case.label_path):  # `_on_image` reads it, on the grid of the image
            return Grid(np.zeros((1, 1, 1), np.int32), (1.0, 1.0, 1.0), np.eye(4))
        return read_image_file(case.label_path, is_label=True)

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

    def _numbered(self, case: Case, codes: Grid) -> tuple[Grid, np.ndarray]:
        """Returns codes with class 1 in place of the numbers of objects, and these."""
        objects = np.where(codes.array == self.dataset.ignore_label, 0, codes.array)
        if objects.min() < 0 or objects.max() > 65535:
            found = f"values {objects.min()} to {objects.max()}"
            remedy = "Number the objects of each image from 1 on."
            raise DataError(case.label_path, expected="numbers of objects, 0 to 65535", found=found, remedy=remedy)
        classes = np.where(objects > 0, np.int32(1), codes.array)
        return dataclasses.replace(codes, array=classes), objects.astype(np.uint16)

    def _to_classes(self, case: Case, codes: Grid) -> tuple[np.ndarray, tuple[str, ...]]:
        """Translates (X, Y, Z) int32 label codes to uint8 classes, with notes, and refuses codes that have none.

        Code 0 is background unless `label_map` lists it; `ignore_label` becomes num_classes, not annotated. If
        `unknown_codes` are background, codes without a class are, with a note, and files of nothing but classes are
        taken as they are: they were translated before.
        """
        values, counts = _histogram(codes.array)
        label_map, num_classes = self.dataset.label_map, self.dataset.num_classes
        is_lenient = self.unknown_codes == "background"
        known = {0: 0, **dict(label_map)} if label_map else {code: code for code in range(num_classes)}
        is_translated = values[0] >= 0 and values[-1] < num_classes
        if is_lenient and is_translated and not known.keys() >= set(values):
            known = {code: code for code in range(num_classes)}
        known |= {} if self.dataset.ignore_label is None else {self.dataset.ignore_label: num_classes}
        unknown = {value: count for value, count in zip(values, counts, strict=True) if value not in known}
        listed = few([f"{value} ({count} voxels)" for value, count in unknown.items()], 10)
        if unknown and not (is_lenient and any(known.get(value) for value in values)):
            codes = sorted(known)
            names = f"0 to {codes[-1]}" if codes == list(range(len(codes))) else ", ".join(map(str, codes))
            raise DataError(
                case.label_path,
                expected=f"label values {names} ({'`label_map`' if label_map else '`num_classes`'})",
                found=f"also {listed}",
                remedy="Correct the file, or give every code a class: --label_map=205:1,420:2 for add_dataset.py, or "
                "`label_map` (code in the file -> class) of a dataset that is there.",
            )
        classes = np.zeros(codes.array.shape, np.uint8)
        for value in values:
            if known.get(value):
                classes[codes.array == value] = known[value]
        notes = (f"label values {listed} have no class and were read as background",) if unknown else ()
        return classes, notes

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


def on_grid_of(image: Grid, label: Grid, path: Path, *, name: str) -> Grid:
    """Returns a label whose corners lie where its image's do by any usual reading of the two headers, both as stored.

    One that lies there with other axes, as programs save that know RAS only, gets the axes of the image's file. For
    messages are the path of the label and the name of the image.

    Raises:
        DataError: another shape, or corners elsewhere.
    """
    shape, spacing = image.array.shape[:3], image.spacing_mm
    ours = geometry.readings(image.header, image.affine, spacing)
    usual = geometry.readings(label.header, label.affine, label.spacing_mm)[0]
    never_set = geometry.has_orientation(label.header) and np.allclose(label.spacing_mm, 1.0)  # pixdim
    theirs = [usual, label.affine] if never_set else [usual]
    if label.array.shape == shape and geometry.fits(ours, theirs, shape):
        return label
    is_placed = [geometry.has_orientation(each.header) for each in (image, label)]
    for reading in ours if is_placed[1] else ():
        axes = geometry.axes_between(reading, usual)
        if axes != geometry.STORED and geometry.permuted(label.array.shape, axes) == shape:
            moved = geometry.turned_affine(usual, axes, label.array.shape)
            alike = [each for each in ours if geometry.letters(each) == geometry.letters(moved)]
            if geometry.fits(alike, [moved], shape):
                return dataclasses.replace(label, array=geometry.turned(label.array, axes), affine=moved)
    if label.array.shape != shape:
        remedy = "Export image and label on the same grid (resample the label by nearest neighbour)."
        raise DataError(path, expected=f"shape {shape}, as {name}", found=f"shape {label.array.shape}", remedy=remedy)
    facts = [geometry.describe(*each) for each in ((spacing, ours[0]), (label.spacing_mm, usual))]
    silent = "; its header gives no place (sform_code and qform_code are 0)" if is_placed == [True, False] else ""
    raise DataError(
        path,
        expected=f"the grid of {name}, corners within {geometry.tolerance_mm(ours[0]):.2g} mm ({facts[0]})",
        found=f"a corner {geometry.distance_mm(ours[0], usual, shape):.3g} mm off ({facts[1]}){silent}",
        remedy="If it lies on the image voxel by voxel and only its header is wrong, give it the image's: "
        "nibabel.save(nibabel.Nifti1Image(label.dataobj, None, image.header), file). Otherwise resample it to the "
        "image's grid by nearest neighbour.",
    )


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


def image_stem(path: Path, *, of_pictures: bool = False) -> str | None:
    """Returns the name of a scan without its ending, in Unicode's form NFC; None of what is no scan.

    It is .nii, .nii.gz, .nrrd, .seg.nrrd, .nhdr, .mha or .mhd in small or capital letters; a DICOM series has none.
    `of_pictures`: or one of `pictures.ENDINGS`, which beside scans are no scans.
    """
    name = unicodedata.normalize("NFC", path.name)
    match = re.fullmatch(r"(.+?)\.(nii(\.gz)?|(seg\.)?nrrd|nhdr|mha|mhd)", name, re.IGNORECASE)
    if of_pictures and is_picture(path):
        return name.rpartition(".")[0]
    return match[1] if match else name if is_series(path) else None


def scans_among(paths: Iterable[Path]) -> dict[Path, str]:
    """Returns scan -> stem of those of some entries that are scans; pictures are if there are no others."""
    paths = list(paths)
    found = {path: stem for path in paths if (stem := image_stem(path))}
    pictures = (path for path in paths if is_picture(path) and not path.is_dir())
    return found or {path: image_stem(path, of_pictures=True) for path in pictures}


def image_files(folder: Path) -> dict[str, Path]:
    """Returns stem -> scan of a folder, sorted; {} if there is no folder. Raises `DataError` for twins."""
    found: dict[str, Path] = {}
    for path, stem in scans_among(visible(folder) if folder.is_dir() else ()).items():
        if found.setdefault(stem, path) is not path:
            twins = f"{found[stem].name} and {path.name}"
            raise DataError(folder, expected="one file per volume", found=twins, remedy="Move one elsewhere.")
    return found


def existing(folder: Path, stem: str) -> Path | None:
    """Returns the scan of a folder with this stem, even a link that leads nowhere; None if there is none."""
    found = [path for path in (folder / f"{stem}.nii", folder / f"{stem}.nii.gz") if os.path.lexists(path)]
    return found[0] if len(found) == 1 else image_files(folder).get(stem)
