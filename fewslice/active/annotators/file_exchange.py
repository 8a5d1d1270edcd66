"""Annotations by a person, through files.

rounds/000/to_annotate/slices.csv                        what to annotate; written last
                       README.txt                        how
                       <volume>_image.nii.gz             the whole volume, for context
                       <volume>_annotation.nii.gz        the mask to paint on, for ITK-SNAP and others
                       3d_slicer/<volume>_annotation.seg.nrrd    the same as named segments
                       colours_3d_slicer.ctbl  labels_itk_snap.txt
           annotated/  <volume>_annotation.nii.gz, .seg.nrrd, ...    to be put here when it is done
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.active.annotators import ANNOTATORS, Task, WaitingForAnnotations
from fewslice.active.units import Box
from fewslice.core import files
from fewslice.core.errors import DataError, FewSliceError, few
from fewslice.core.progress import Progress
from fewslice.data import viewers
from fewslice.data.io import geometry
from fewslice.data.io.access import readable
from fewslice.data.io.nifti import as_colours, write_nifti
from fewslice.data.painted import (
    BACKGROUND,
    ENDINGS,
    NOT_ANNOTATED,
    completed,
    find_painted,
    painting_grid,
    read_painted,
)
from fewslice.data.readers import get_reader
from fewslice.data.readers.base import visible
from fewslice.data.volume import Volume, label_from_grid, label_to_grid

_COLUMNS = (
    "order", "volume", "slice", "slice_counted_from_1", "last_slice", "view", "slicer_mm", "prefilled", "unit_id",
    "file",
)  # fmt: skip
BACK, HANDED_OUT, _SLICER = "annotated", "to_annotate", "3d_slicer"
_ACCEPTED = "accepted.json"  # name and checksum of a file -> answers of --accept with which it was taken


@ANNOTATORS.register("files")
class FileExchange:
    """Hands out the cases of the chosen units as files and takes the painted labels back."""

    def __init__(self, task: Task):
        self._task = task
        self._ignore, self._names = task.ignore_value, task.dataset.struct_name
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
        self.hand_out(folder, units)
        returned = {case_id: find_painted(folder / BACK, case_id) for case_id in chosen}
        missing = [case_id for case_id, path in returned.items() if path is None]
        if missing:
            raise WaitingForAnnotations(
                f"{len(units)} units of {len(chosen)} volumes wait for their annotation in {folder / HANDED_OUT} "
                f"(its README.txt says how). Not back yet: {few(missing, 8)}. "
                f"Repeat this command when they are in {folder / BACK}.{self._elsewhere(folder, returned)}"
            )
        labels = {
            volume.case.case_id: label_to_grid(drawn, volume.spacing_mm, self._task.dataset, outside=self._ignore)
            for volume, drawn in self._take_back(folder, chosen, returned)
        }
        boxes = [self._task.pool.box(unit) for unit in units]
        return [labels[self._task.pool.cases[box.case].case_id][box.slices] for box in boxes]

    def _by_case(self, units: np.ndarray) -> dict[str, list[int]]:
        """Returns case id -> its units, from the first slice on."""
        pool, chosen = self._task.pool, defaultdict(list)
        for unit in sorted(map(int, units), key=pool.box):
            chosen[pool.cases[pool.box(unit).case].case_id].append(unit)
        return dict(sorted(chosen.items()))

    def _elsewhere(self, folder: Path, returned: dict[str, Path | None]) -> str:
        """Returns sentences about files that were saved where they were handed out, and other names; or ""."""
        place, back = folder / HANDED_OUT, {path.name for path in returned.values() if path}
        begun = (place / "slices.csv").stat().st_mtime
        there = sorted(place.rglob("*_annotation.*"))
        saved = [str(path.relative_to(place)) for path in there if path.stat().st_mtime > begun]
        others = [path.name for path in visible(folder / BACK) if path.name not in back]
        text = f" Saved in {HANDED_OUT}: {few(saved)}; move it to {BACK}." if saved else ""
        return text + (f" Other names there, which do not count: {few(others)}." if others else "")

    def hand_out(self, folder: Path, units: np.ndarray, *, then: str = "repeat the command.") -> None:
        """Writes the files, unless they are there; the list is the last one, so that it vouches for the others.

        Args:
            then: What to do when all are back, for README.txt.
        """
        target, chosen = folder / HANDED_OUT, self._by_case(units)
        if (target / "slices.csv").exists():
            if self._task.prefill is not None:
                logging.info("%s is there already; --prefill changes nothing in it.", target)
            return
        (folder / BACK).mkdir(parents=True, exist_ok=True)
        rows = {}
        with Progress(len(chosen), "Files to annotate", is_kept=False) as progress:
            for case_id, of_case in chosen.items():
                rows |= self._hand_out_case(target, case_id, of_case)
                progress.update(note=case_id)
        viewers.write_colours(target, self._names, self._ignore)
        files.write_text(target / "README.txt", self._instructions(then))
        ordered = [{"order": order, **rows[int(unit)]} for order, unit in enumerate(units, start=1)]
        files.write_csv(target / "slices.csv", ordered, _COLUMNS)

    def _hand_out_case(self, target: Path, case_id: str, units: Sequence[int]) -> dict[int, dict[str, object]]:
        """Writes the files of a case and returns unit -> its line of the list."""
        pool, task, volume = self._task.pool, self._task, self._native(case_id)
        affine, spacing_mm = painting_grid(volume)
        blank, rows = np.full(volume.image.shape[:3], self._ignore, np.uint8), {}
        predicted = None if task.prefill is None else task.prefill(task.volumes[self._index[case_id]])
        name = f"{case_id}_annotation.nii.gz"
        for unit in units:
            box = pool.box(unit)
            asked, first = self._asked(volume, [box]), pool.place_in_file(box)[0]
            if predicted is not None:
                blank[asked] = predicted[asked]
            view, place = viewers.slice_place(affine, first)
            cells = (case_id, first, first + 1, first + box.size[0] - 1, view, place, _sum(blank, asked, predicted))
            rows[unit] = dict(zip(_COLUMNS[1:], (*cells, pool.name(unit), name), strict=True))
        both = _shown(volume.image), blank
        shown, blank = (geometry.turned(array, geometry.inverse(volume.axes)) for array in both)
        for path, array in ((f"{case_id}_image.nii.gz", shown), (name, blank)):
            write_nifti(target / path, array, affine=affine, spacing_mm=spacing_mm)
        path = target / _SLICER / f"{case_id}_annotation.seg.nrrd"
        viewers.write_segmentation(path, blank, affine, self._names, self._ignore)
        return rows

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
        if whole.any(axis=(0, 1)).sum() == inside.any(axis=(1, 2)).sum():
            return whole
        partial = np.stack([~inside, inside], axis=-1).astype(np.float32)
        return whole | (label_from_grid(partial, whole.shape, volume.spacing_mm, self._task.dataset) == 1)

    def _instructions(self, then: str) -> str:
        ignore = self._ignore
        classes = ", ".join(f"{index} {name}" for index, name in enumerate((BACKGROUND, *self._names)))
        how = self._task.annotation.instruction.format(ignore=ignore)
        prefilled = "   The slices begin with a network's prediction: correct it.\n" * (self._task.prefill is not None)
        return (
            "Slices to annotate\n\n"
            "1. slices.csv lists them. ITK-SNAP shows the number of the column slice_counted_from_1, in the view that\n"
            "   stands beside it; 3D Slicer shows the millimetres of slicer_mm. (`slice`, along the third axis of the\n"
            "   file, counts from 0; a patch reaches to `last_slice`.)\n"
            "2. ITK-SNAP: open <volume>_image.nii.gz as main image, <volume>_annotation.nii.gz as segmentation, and\n"
            "   import labels_itk_snap.txt (Segmentation, Import Label Descriptions).\n"
            f"   3D Slicer: drag <volume>_image.nii.gz and {_SLICER}/<volume>_annotation.seg.nrrd into its window.\n"
            "   The segments have their names. (colours_3d_slicer.ctbl has the colours for a label map.)\n"
            f"3. Values: {classes}; {ignore} = {NOT_ANNOTATED}. Paint over {ignore}.\n   {how}\n{prefilled}"
            "   Only what is listed counts.\n"
            f"4. Save each as <volume>_annotation with one of the endings {', '.join(ENDINGS)}\n"
            f"   in the folder {BACK} beside this one. From 3D Slicer always .seg.nrrd, whose segments are known by\n"
            "   their names; an export to a label map numbers them anew.\n"
            f"5. When all are there: {then}\n"
        )

    def take(self, folder: Path, units: np.ndarray) -> Iterator[tuple[Volume, np.ndarray]]:
        """Yields volumes and their (X, Y, Z) uint8 labels of all units that came back, and then says what is wrong.

        Raises:
            FewSliceError: everything that is wrong with the files; after the others were yielded.
        """
        chosen = self._by_case(units)
        returned = {case_id: find_painted(folder / BACK, case_id) for case_id in chosen}
        yield from self._take_back(folder, {name: chosen[name] for name in chosen if returned[name]}, returned)

    def _take_back(
        self, folder: Path, chosen: dict[str, list[int]], returned: dict[str, Path]
    ) -> Iterator[tuple[Volume, np.ndarray]]:
        with open(folder / HANDED_OUT / "slices.csv", newline="", encoding="utf-8-sig", errors="replace") as file:
            prefilled = {row.get("unit_id"): row.get("prefilled") for row in csv.DictReader(file)}
        record, problems, is_shown, answers = folder / HANDED_OUT / _ACCEPTED, [], False, {}
        before = files.read_record(record) if record.exists() else {}
        for case_id, units in chosen.items():
            volume, path = self._native(case_id), returned[case_id]
            try:
                with readable(path):
                    name = f"{path.name} {files.sha256(path)}"
                answers[name] = accept = sorted({*self._task.accept, *before.get(name, ())})
                if repeated := {*accept} - {*self._task.accept}:
                    text = "%s is unchanged since it was taken with --accept=%s, and is taken so again."
                    logging.info(text, path, ",".join(sorted(repeated)))
                drawn = self._checked(path, volume, units, prefilled, accept)
            except DataError as error:
                problems.append(error)
                continue
            is_shown |= bool(((drawn > 0) & (drawn < self._ignore)).any())
            yield volume, drawn
        if problems:
            more = any(error.expected.startswith("the grid") for error in problems) * (
                "\n--accept=header takes files of the right shape voxel by voxel, wherever their headers place them."
            )
            raise FewSliceError(f"{len(problems)} annotations cannot be used:\n" + "\n".join(map(str, problems)) + more)
        if not (is_shown or (answers and all("empty" in accept for accept in answers.values()))):
            raise FewSliceError(
                f"No structure is painted in any of the {sum(map(len, chosen.values()))} units in {folder / BACK}: "
                "networks would learn that there is nothing. Are these the painted files? If it is meant, "
                "repeat the command with --accept=empty."
            )
        if any(answers.values()):
            files.write_json(record, answers)

    def _checked(
        self, path: Path, volume: Volume, units: list[int], prefilled: dict[str, str | None], accept: Sequence[str]
    ) -> np.ndarray:
        """Returns the native labels (X, Y, Z) uint8 of a file that came back, the ignore value outside of its units."""
        ignore, pool = self._ignore, self._task.pool
        is_dense, boxes = self._task.annotation.is_dense, [pool.box(unit) for unit in units]
        labels = read_painted(path, volume, names=self._names, ignore=ignore, takes_voxels="header" in accept)
        asked, untouched = self._asked(volume, boxes), {}
        for unit, box in zip(units, boxes, strict=True):
            if prefilled.get(pool.name(unit)) == _sum(labels, self._asked(volume, [box]), labels):
                untouched[pool.name(unit)] = range(labels.shape[2])[box.slices[0]]
        if untouched:
            logging.warning("%s: as pre-filled, not changed, and taken so: %s.", path, few([*untouched]))
        kept = {place for part in untouched.values() for place in part}
        labels = self._in_place(path, volume, labels, asked, kept, "shifted" in accept)
        is_drawn, whole = (labels != ignore) & asked, range(labels.shape[2])
        parts = (
            [[place] for place in whole if asked[..., place].any()] if is_dense else [whole[b.slices[0]] for b in boxes]
        )
        forgotten = [place for part in parts for place in part if not is_drawn[..., part].any()]
        full = [place for part in parts for place in part if is_drawn[..., part].sum() == asked[..., part].sum()]
        if forgotten and not (is_dense and "empty" in accept):
            empty = "a slice without structures gets one stroke of background (0); --accept=empty takes these as such."
            raise DataError(
                path,
                expected="something painted or cleared in every listed slice",
                found=f"nothing in {self._words(volume, forgotten)}",
                remedy=f"Paint and save; {empty}" if is_dense else "Draw strokes there and save.",
            )
        if full and not is_dense and "full" not in accept:
            raise DataError(
                path,
                expected=f"strokes, and {ignore} ({NOT_ANNOTATED}) elsewhere",
                found=f"a class in every pixel of {self._words(volume, full)}",
                remedy=f"Set what is unknown to {ignore}; or, if every pixel is right, --accept=full.",
            )
        if ((labels != ignore) & ~asked).any():
            logging.warning("%s is annotated beyond the queried units; that is not used.", path)
        if is_dense:
            if forgotten:
                logging.warning("%s: %s, is taken as empty (--accept=empty).", path, self._words(volume, forgotten))
            labels[..., forgotten] = 0
            labels = completed(labels, ignore, asked)
        return np.where(asked, labels, ignore).astype(np.uint8)

    def _in_place(
        self, path: Path, volume: Volume, labels: np.ndarray, asked: np.ndarray, untouched: set[int], may_move: bool
    ) -> np.ndarray:
        """Returns the labels; those painted one slice beside the listed ones are refused, or moved if accepted."""
        listed, whole = np.flatnonzero(asked.any(axis=(0, 1))), range(labels.shape[2])
        drawn = [place for place in whole if (labels[..., place] != self._ignore).any() and place not in untouched]
        beside = {step: [place + step for place in listed if place + step in whole] for step in (1, -1)}
        step = next((step for step, places in beside.items() if drawn == places and {*drawn} - {*listed}), 0)
        if step and not may_move:
            raise DataError(
                path,
                expected=f"paint in {self._words(volume, listed)}",
                found=f"all of it one slice beside: in {self._words(volume, drawn)}",
                remedy="Paint the listed slices and save. If the paint belongs to them and the file is off by one, "
                "repeat the command with --accept=shifted, which moves it.",
            )
        if step:
            moved = self._words(volume, drawn), self._words(volume, [place - step for place in drawn])
            logging.warning("%s: paint in %s, is taken for %s (--accept=shifted).", path, *moved)
        return np.roll(labels, -step, axis=2)

    def _words(self, volume: Volume, places: Sequence[int]) -> str:
        """Returns slices as viewers show them."""
        affine, depth = painting_grid(volume)[0], volume.image.shape[2]
        numbers = sorted(place if volume.axes[2] > 0 else depth - 1 - place for place in places)
        words = [f"{number + 1} ({viewers.slice_place(affine, number)[1]})" for number in numbers]
        return f"slice {few(words, 8)}, counted from 1"


def _shown(image: np.ndarray) -> np.ndarray:
    """Returns what a person sees of an image: three channels of bytes as colours, the mean of others."""
    if image.ndim == 3:
        return image
    whole = np.clip(image, 0, 255).astype(np.uint8)
    is_colour = image.shape[3] == 3 and np.array_equal(image, whole)
    return as_colours(whole, 0, 3)[..., 0] if is_colour else image.mean(axis=3)


def _sum(labels: np.ndarray, asked: np.ndarray, is_filled: np.ndarray | None) -> str:
    """Returns a checksum of the labels of a unit, "" where nothing was filled in."""
    return "" if is_filled is None else hashlib.sha256(labels[asked].tobytes()).hexdigest()[:12]
