"""Training slices and whole volumes as .h5 files, as the al-seg branch of WSL4MIS stores its datasets.

    training_slices/patient_10_slice_0.h5 ...    `image` (y, x), perhaps `label` and `scribble`
    val_volumes/patient_14.h5 ...                the same with a leading slice axis: (z, y, x)
    testing_volumes/patient_22.h5 ...

Every subfolder whose name ends with "slices" or "volumes" is searched, and the dataset's folder itself. Frames of a
video are slices; its images have a last axis for red, green and blue.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from fewslice.core.errors import DataError
from fewslice.data.readers.base import READERS, Grid, visible
from fewslice.data.readers.h5_files import FILE, VOLUME, H5Reader, holds, read_array
from fewslice.data.volume import Case
from fewslice.settings.datasets import patient_of

_FOLDER = re.compile(r".*(slices|volumes)", re.IGNORECASE)
_COLOURS = 3


@READERS.register("slices_h5")
class SlicesH5Reader(H5Reader):
    """Reads slice files and volume files; the case id is the volume's name, whose patient `patient_pattern` finds.

    The slice files `<volume>_slice_<number>.h5` of one volume are stacked in the order of their numbers. Where a volume
    is there as slices and as a whole, the slices are read. A file without `label` is a volume without a label, and one
    without `scribble` has none. Voxel sizes come from `spacing_table`; without one a voxel has 1 x 1 x 1 mm, so that
    lengths in mm are lengths in voxels.

    Notes:
        Colour images (`num_channels = 3`) come out as 0 to 1: a volume whose largest value is above 1 is divided by
        255. The published files hold 0 to 255 in the training slices and 0 to 1 in the other volumes of one dataset,
        which its code fed to the network as they are. Images of one channel are not touched.
        Differs from the published code, which read one digit of the slice number and took slice 10 for slice 1.
    """

    label_kinds = "fiu"
    expects = "training_slices/<volume>_slice_0.h5, ..., val_volumes/<volume>.h5, ... with `image` and perhaps `label`"

    def _find(self) -> list[Case]:
        cases = []
        for name, paths in self._volumes.items():
            patient = patient_of(name, self.dataset.patient_pattern)
            if patient:
                cases.append(self._case(name, patient, "", paths))
            else:
                self.notes.append(f"{paths[0]} does not fit `patient_pattern` and was passed over")
        return cases

    def _case(self, case_id: str, patient: str, phase: str, paths: Sequence[Path]) -> Case:
        return Case(case_id, patient, phase, paths[0], None if holds(paths[0], "label") is False else paths[0])

    def source_files(self, case: Case, *, with_label: bool = True) -> list[Path]:
        """Returns all slice files of the volume in the order of their numbers, or its one file."""
        return list(self._stacks.get(case.image_path, (case.image_path,)))

    def facts(self, case: Case) -> dict[str, object]:
        """Returns the voxel size and, of slice files, their number, which decide the result beside the files."""
        paths = self._stacks.get(case.image_path)
        return super().facts(case) | ({"slices": len(paths)} if paths else {})

    @cached_property
    def _stacks(self) -> dict[Path, list[Path]]:
        """First slice file -> all slice files of the volume."""
        return {paths[0]: paths for paths in self._volumes.values() if _number(paths[0]) is not None}

    @cached_property
    def _volumes(self) -> dict[str, list[Path]]:
        """Volume name -> its slice files by number, or its one file; sorted by name."""
        slices: dict[str, list[Path]] = {}
        volumes: dict[str, list[Path]] = {}
        for folder in self._folders():
            for path in visible(folder):
                match = FILE.fullmatch(path.name)
                if match and path.suffix:
                    (volumes if match[2] is None else slices).setdefault(match[1], []).append(path)
        for name, paths in {**volumes, **slices}.items():
            if len({path.parent for path in paths}) > 1:
                found = " and ".join(str(folder) for folder in sorted({path.parent for path in paths}))
                remedy = "Remove one of them."
                raise DataError(self.folder, expected=f"{name} in one folder", found=f"it in {found}", remedy=remedy)
        both = sorted(slices.keys() & volumes.keys())
        if both:
            shown = ", ".join(both[:3]) + (", ..." if len(both) > 3 else "")
            self.notes.append(f"{len(both)} volumes are there as slices too, which are read instead: {shown}")
        if not self.dataset.spacing_table:
            self.notes.append("there are no voxel sizes (`spacing_table`): lengths in mm are lengths in voxels")
        found = volumes | {name: sorted(paths, key=_number) for name, paths in slices.items()}
        return dict(sorted(found.items()))

    def _folders(self) -> list[Path]:
        below = [path for path in visible(self.folder) if _FOLDER.fullmatch(path.name) and path.is_dir()]
        return [self.folder, *below]

    def _array(self, case: Case, key: str, kinds: str, *, is_optional: bool = False) -> np.ndarray | None:
        """Returns the (X, Y, Z) or (X, Y, Z, 3) array `key` of a volume, or None if it is optional and absent."""
        paths = self.source_files(case)
        is_colour = key == "image" and self.dataset.num_channels == _COLOURS
        colour = ("rgb",) if is_colour else ()
        if _number(paths[0]) is None:
            array = read_array(paths[0], key, kinds, axes=(*VOLUME, *colour), is_optional=is_optional)
        else:
            _check_numbers(paths)
            array = _stacked(paths, key, kinds, axes=(*VOLUME[1:], *colour), is_optional=is_optional)
        if array is None:
            return None
        if is_colour and array.shape[3] != _COLOURS:
            found = f"{array.shape[3]} channels"
            raise DataError(paths[0], expected="red, green and blue", found=found, remedy="Set `num_channels`.")
        return np.swapaxes(array, 0, 2)

    def _file_of(self, case: Case, is_wrong: np.ndarray) -> Path:
        paths = self.source_files(case)
        return paths[min(np.nonzero(is_wrong)[2]) if len(paths) > 1 else 0]

    def _to_classes(self, case: Case, codes: Grid) -> tuple[np.ndarray, tuple[str, ...]]:
        """Names the slice file in which a value is wrong, not the first file of the volume."""
        try:
            return super()._to_classes(case, codes)
        except DataError:
            for index, path in enumerate(self._stacks.get(case.image_path, ())):
                one = dataclasses.replace(codes, array=codes.array[:, :, index : index + 1])
                super()._to_classes(dataclasses.replace(case, label_path=path), one)
            raise

    def _read_image(self, case: Case) -> Grid:
        grid = super()._read_image(case)
        if grid.array.ndim < 4:
            return grid
        low, high = float(grid.array.min()), float(grid.array.max())
        if low < 0 or high > 255:
            found, remedy = f"{low:g} to {high:g}", "Store the frames as 0 to 255 or as 0 to 1."
            expected = "colours from 0 to 255, or from 0 to 1"
            path = self._file_of(case, (grid.array < 0) | (grid.array > 255))
            raise DataError(path, expected=expected, found=found, remedy=remedy)
        return dataclasses.replace(grid, array=grid.array / np.float32(255)) if high > 1 else grid


def _number(path: Path) -> int | None:
    """Returns the slice number in a file name, None for a volume."""
    number = FILE.fullmatch(path.name)[2]
    return None if number is None else int(number)


def _check_numbers(paths: Sequence[Path]) -> None:
    """Raises `DataError` unless the slices, sorted by number, count 0, 1, 2, ..."""
    for place, path in enumerate(paths):
        number = _number(path)
        if number == place:
            continue
        if place and number == _number(paths[place - 1]):
            found, remedy = f"{paths[place - 1].name} and {path.name}", "Remove one of them."
        else:
            found = f"no slice {place} before {path.name}"
            remedy = "Get the missing file, or leave the volume out."
        raise DataError(path, expected="slices that count 0, 1, 2, ... without a gap", found=found, remedy=remedy)


def _stacked(
    paths: Sequence[Path], key: str, kinds: str, *, axes: tuple[str, ...], is_optional: bool
) -> np.ndarray | None:
    """Returns the slices of a volume one upon the other, None if they are optional and no file has one."""
    arrays = [read_array(path, key, kinds, axes=axes, is_optional=is_optional) for path in paths]
    absent = [path for path, array in zip(paths, arrays, strict=True) if array is None]
    if len(absent) == len(paths):
        return None
    if absent:
        found, remedy = f"{len(absent)} of {len(paths)} slices without", "Add it, or remove it from all."
        expected = f"`{key}` in every slice of a volume or in none"
        raise DataError(absent[0], expected=expected, found=found, remedy=remedy)
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape:
            expected = f"`{key}` of shape {arrays[0].shape}, as in {paths[0].name}"
            remedy = "All slices of a volume must have one shape. Get a fresh copy, or leave the volume out."
            raise DataError(path, expected=expected, found=f"shape {array.shape}", remedy=remedy)
    return np.stack(arrays)
