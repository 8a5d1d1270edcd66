"""Annotations by a person, through files.

rounds/000/to_annotate/slices.csv                     what to annotate
                       README.txt                     how
                       <volume>_image.nii.gz          the whole volume, for context
                       <volume>_annotation.nii.gz     the mask to paint on
           annotated/  <volume>_annotation.nii.gz     to be put here when it is done
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.active.annotators import ANNOTATORS, Task, WaitingForAnnotations
from fewslice.active.units import Box
from fewslice.core import files
from fewslice.core.errors import DataError, FewSliceError, few
from fewslice.data.io import geometry
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.data.readers import get_reader
from fewslice.data.readers.base import on_grid_of, visible
from fewslice.data.volume import Volume, label_from_grid, label_to_grid

_COLUMNS = ("order", "volume", "slice", "slice_counted_from_1", "last_slice", "unit_id", "file")
BACK, _HANDED_OUT = "annotated", "to_annotate"


@ANNOTATORS.register("files")
class FileExchange:
    """Hands out the cases of the chosen units as NIfTI files and takes the painted labels back."""

    def __init__(self, task: Task):
        self._task = task
        self._reader = get_reader(task.dataset)
        self._index = {volume.case.case_id: place for place, volume in enumerate(task.volumes)}

    def annotate(self, folder: Path, units: np.ndarray) -> list[np.ndarray]:
        """Returns the labels that came back; hands out the work where it is not handed out yet.

        Raises:
            WaitingForAnnotations: files are not back yet.
            FewSliceError: everything that is wrong with those that are.
        """
        chosen = self._by_case(units)
        if not chosen:
            return []
        if not (folder / _HANDED_OUT / "slices.csv").exists():
            self._hand_out(folder, units, chosen)
        missing = [case_id for case_id in chosen if not self._returned(folder, case_id).exists()]
        if missing:
            raise WaitingForAnnotations(
                f"{len(units)} units of {len(chosen)} volumes wait for their annotation in {folder / _HANDED_OUT} "
                f"(its README.txt says how). Not back yet: {few(missing, 8)}. "
                f"Repeat this command when they are in {folder / BACK}.{self._others(folder, chosen)}"
            )
        labels = self._take_back(folder, chosen)
        boxes = [self._task.pool.box(unit) for unit in units]
        return [labels[self._task.pool.cases[box.case].case_id][box.slices] for box in boxes]

    def _by_case(self, units: np.ndarray) -> dict[str, list[Box]]:
        pool, chosen = self._task.pool, defaultdict(list)
        for box in map(pool.box, units):
            chosen[pool.cases[box.case].case_id].append(box)
        return {case_id: sorted(boxes) for case_id, boxes in sorted(chosen.items())}

    def _returned(self, folder: Path, case_id: str) -> Path:
        return folder / BACK / f"{case_id}_annotation.nii.gz"

    def _others(self, folder: Path, chosen: dict[str, list[Box]]) -> str:
        """Returns a sentence about other files where annotations are expected; "" if there is none."""
        expected = {self._returned(folder, case_id).name for case_id in chosen}
        others = [path.name for path in visible(folder / BACK) if path.name not in expected]
        return f" Other names there, which do not count: {few(others)}." if others else ""

    def _hand_out(self, folder: Path, units: np.ndarray, chosen: dict[str, list[Box]]) -> None:
        """Writes the files; the list is the last one, so that it vouches for the others."""
        target = folder / _HANDED_OUT
        (folder / BACK).mkdir(parents=True, exist_ok=True)
        for case_id, boxes in chosen.items():
            volume = self._native(case_id)
            blank = np.full(volume.image.shape[:3], self._task.ignore_value, np.uint8)
            if self._task.annotation.is_dense:
                blank[self._asked(volume, boxes)] = 0  # what stays unpainted is background
            spacing = geometry.permuted(volume.spacing_mm, geometry.inverse(volume.axes))
            like = dataclasses.replace(volume, header=geometry.for_painting(volume.header, spacing))
            write_nifti(target / f"{case_id}_image.nii.gz", volume.image, like=like)
            write_nifti(target / f"{case_id}_annotation.nii.gz", blank, like=like)
        files.write_text(target / "README.txt", self._instructions())
        pool, rows = self._task.pool, []
        for order, unit in enumerate(units, start=1):
            box = pool.box(unit)
            case_id, first = pool.cases[box.case].case_id, pool.place_in_file(box)[0]
            last = first + box.size[0] - 1
            cells = (order, case_id, first, first + 1, last, pool.name(unit), f"{case_id}_annotation.nii.gz")
            rows.append(dict(zip(_COLUMNS, cells, strict=True)))
        files.write_csv(target / "slices.csv", rows, _COLUMNS)

    def _native(self, case_id: str) -> Volume:
        return self._reader.read(self._task.volumes[self._index[case_id]].case, with_label=False)

    def _asked(self, volume: Volume, boxes: list[Box]) -> np.ndarray:
        """Returns (X, Y, Z) bool: the native voxels of some boxes of one case.

        A box that covers whole slices on the network's grid covers the file's whole slices, also where these reach
        beyond it.
        """
        shape = self._task.pool.cases[boxes[0].case].shape
        inside, whole = np.zeros(shape, bool), np.zeros(volume.image.shape[:3], bool)
        for box in boxes:
            inside[box.slices] = True
            if box.size[1:] == shape[1:]:
                whole[..., box.slices[0]] = True
        partial = np.stack([~inside, inside], axis=-1).astype(np.float32)
        return whole | (label_from_grid(partial, whole.shape, volume.spacing_mm, self._task.dataset) == 1)

    def _instructions(self) -> str:
        dataset, ignore = self._task.dataset, self._task.ignore_value
        classes = ", ".join(f"{index} {name}" for index, name in enumerate(("background", *dataset.struct_name)))
        how = self._task.annotation.instruction.format(ignore=ignore)
        return (
            "Slices to annotate\n\n"
            "1. slices.csv lists them: volume and slice, counted from 0; most viewers count from 1, see the other\n"
            "   column. The slice is the third axis of the file. A patch reaches to `last_slice`.\n"
            "2. Open <volume>_image.nii.gz and load <volume>_annotation.nii.gz as its segmentation.\n"
            f"3. Values: {classes}; {ignore} = not annotated. {how}\n"
            "   Only what is listed counts.\n"
            f"4. Save it under the same name in the folder {BACK} beside this one.\n"
            "5. When all are there, repeat the command.\n"
        )

    def _take_back(self, folder: Path, chosen: dict[str, list[Box]]) -> dict[str, np.ndarray]:
        """Returns case id -> (slices, rows, columns) uint8 labels on the network's grid, after checking all files."""
        labels, problems = {}, []
        for case_id, boxes in chosen.items():
            path, volume = self._returned(folder, case_id), self._native(case_id)
            try:
                drawn = self._checked(path, volume, boxes)
            except DataError as error:
                problems.append(error)
                continue
            outside = self._task.ignore_value
            labels[case_id] = label_to_grid(drawn, volume.spacing_mm, self._task.dataset, outside=outside)
        if problems:
            raise FewSliceError(f"{len(problems)} annotations cannot be used:\n" + "\n".join(map(str, problems)))
        return labels

    def _checked(self, path: Path, volume: Volume, boxes: list[Box]) -> np.ndarray:
        """Returns the native labels (X, Y, Z) uint8 of a file that came back."""
        shape, template = volume.image.shape[:3], path.parent.parent / _HANDED_OUT / path.name
        found = read_nifti(path, is_label=True)
        found = on_grid_of(volume, found, path, name=template.name, remedy=f"Compare with {template}. ")
        codes = geometry.turned(found.array, volume.axes)
        ignore, asked = self._task.ignore_value, self._asked(volume, boxes)
        drawn = codes[asked]
        wrong = np.unique(drawn[(drawn < 0) | (drawn > ignore)])
        if len(wrong):
            raise DataError(
                path,
                expected=f"values 0 to {ignore} ({ignore} = not annotated)",
                found=f"{few([*map(str, wrong)], 8)} in the queried units",
                remedy="Relabel them.",
            )
        labels = np.full(shape, ignore, np.uint8)
        labels[asked] = drawn
        if (codes[~asked] != ignore).any():
            logging.warning("%s is annotated beyond the queried units; that is not used.", path)
        for box in boxes:
            self._check_box(path, volume, labels, box)
        return labels

    def _check_box(self, path: Path, volume: Volume, labels: np.ndarray, box: Box) -> None:
        """Refuses a box without annotation, and dense masks with holes."""
        drawn, is_dense = labels[self._asked(volume, [box])], self._task.annotation.is_dense
        first = self._task.pool.place_in_file(box)[0]
        place = f"slice {first}" + (f" to {first + box.size[0] - 1}" if box.size[0] > 1 else "")
        is_drawn = drawn != self._task.ignore_value
        if not (is_drawn.all() if is_dense else is_drawn.any()):
            raise DataError(
                path,
                expected="a class in every pixel" if is_dense else "strokes",
                found=f"{'pixels that are not annotated' if is_dense else 'nothing'} in {place} (counted from 0)",
                remedy="Annotate it and save the file again.",
            )
        if is_dense and not drawn.any():
            logging.warning("%s shows no structure in %s (counted from 0).", path, place)
