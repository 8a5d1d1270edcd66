"""Annotations by a person, through files.

rounds/000/to_annotate/slices.csv                     what to annotate
                       README.txt                     how
                       <volume>_image.nii.gz          the whole volume, for context
                       <volume>_annotation.nii.gz     the mask to paint on
           annotated/  <volume>_annotation.nii.gz     to be put here when it is done
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.active.annotators import ANNOTATORS, MASK, Task, WaitingForAnnotations
from fewslice.core import files
from fewslice.core.errors import DataError, FewSliceError
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.data.readers import get_reader
from fewslice.data.readers.base import AFFINE_TOLERANCE_MM, SPACING_TOLERANCE_MM, visible
from fewslice.data.readers.selection import few
from fewslice.data.volume import Volume, label_to_grid

_COLUMNS = ("order", "volume", "slice", "slice_counted_from_1", "unit_id", "file")
BACK, _HANDED_OUT = "annotated", "to_annotate"


@ANNOTATORS.register("files")
class FileExchange:
    """Hands out the chosen slices as NIfTI files and takes the painted masks back.

    Args:
        task: What is annotated, and how.
    """

    def __init__(self, task: Task):
        self._task = task
        self._reader = get_reader(task.dataset)
        self._index = {volume.case.case_id: place for place, volume in enumerate(task.volumes)}

    def annotate(self, folder: Path, units: np.ndarray) -> np.ndarray:
        """Returns the masks that came back; hands out the work where it is not handed out yet.

        Raises:
            WaitingForAnnotations: files are not back yet.
            FewSliceError: everything that is wrong with those that are.
        """
        chosen = self._by_volume(units)
        if not chosen:
            return np.empty((0, *self._task.dataset.size), np.uint8)
        if not (folder / _HANDED_OUT / "slices.csv").exists():
            self._hand_out(folder, units, chosen)
        missing = [case_id for case_id in chosen if not self._returned(folder, case_id).exists()]
        if missing:
            raise WaitingForAnnotations(
                f"{len(units)} slices of {len(chosen)} volumes wait for their annotation in {folder / _HANDED_OUT} "
                f"(its README.txt says how). Not back yet: {', '.join(missing[:8])}{' ...' if missing[8:] else ''}. "
                f"Repeat this command when they are in {folder / BACK}.{self._others(folder, chosen)}"
            )
        masks = self._take_back(folder, chosen)
        pool = self._task.pool
        return np.stack([masks[pool.volumes[unit]][pool.positions[unit]] for unit in units])

    def _by_volume(self, units: np.ndarray) -> dict[str, list[int]]:
        chosen: dict[str, list[int]] = defaultdict(list)
        for unit in units:
            chosen[str(self._task.pool.volumes[unit])].append(int(self._task.pool.positions[unit]))
        return {case_id: sorted(positions) for case_id, positions in sorted(chosen.items())}

    def _returned(self, folder: Path, case_id: str) -> Path:
        return folder / BACK / f"{case_id}_annotation.nii.gz"

    def _others(self, folder: Path, chosen: dict[str, list[int]]) -> str:
        """Returns which files lie where annotations are expected, but are none; "" if there is no such file."""
        expected = {self._returned(folder, case_id).name for case_id in chosen}
        others = [path.name for path in visible(folder / BACK) if path.name not in expected]
        return f" Other names there, which do not count: {few(others)}." if others else ""

    def _hand_out(self, folder: Path, units: np.ndarray, chosen: dict[str, list[int]]) -> None:
        """Writes the files; the list is the last one, so that it vouches for the others."""
        target = folder / _HANDED_OUT
        (folder / BACK).mkdir(parents=True, exist_ok=True)
        for case_id, positions in chosen.items():
            volume = self._native(case_id)
            write_nifti(target / f"{case_id}_image.nii.gz", volume.image, like=volume)
            write_nifti(target / f"{case_id}_annotation.nii.gz", self._blank(volume, positions), like=volume)
        files.write_text(target / "README.txt", self._instructions())
        pool = self._task.pool
        rows = [
            {
                "order": order,
                "volume": pool.volumes[unit],
                "slice": int(pool.positions[unit]),
                "slice_counted_from_1": int(pool.positions[unit]) + 1,
                "unit_id": pool.unit_ids[unit],
                "file": f"{pool.volumes[unit]}_annotation.nii.gz",
            }
            for order, unit in enumerate(units, start=1)
        ]
        files.write_csv(target / "slices.csv", rows, _COLUMNS)

    def _native(self, case_id: str) -> Volume:
        return self._reader.read(self._task.volumes[self._index[case_id]].case, with_label=False)

    def _blank(self, volume: Volume, positions: list[int]) -> np.ndarray:
        """Returns a mask to paint on: not annotated; slices that get a dense mask are background."""
        blank = np.full(volume.image.shape[:3], self._task.ignore_value, np.uint8)
        if self._task.kind == MASK:
            blank[..., positions] = 0
        return blank

    def _instructions(self) -> str:
        dataset, ignore = self._task.dataset, self._task.ignore_value
        classes = ", ".join(f"{index} {name}" for index, name in enumerate(("background", *dataset.struct_name)))
        how = (
            "Paint every structure completely; what you leave is background (0)."
            if self._task.kind == MASK
            else f"Draw strokes in every structure that is there and in the background (0); the rest stays {ignore}."
        )
        return (
            "Slices to annotate\n\n"
            "1. slices.csv lists them: volume and slice, counted from 0; most viewers count from 1, see the other\n"
            "   column. The slice is the third axis of the file.\n"
            "2. Open <volume>_image.nii.gz and load <volume>_annotation.nii.gz as its segmentation.\n"
            f"3. Values: {classes}; {ignore} = not annotated. {how}\n"
            "   Only the listed slices count.\n"
            f"4. Save it under the same name in the folder {BACK} beside this one.\n"
            "5. When all are there, repeat the command.\n"
        )

    def _take_back(self, folder: Path, chosen: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """Returns case id -> (Z, NX, NY) uint8 masks on the network's grid, after checking all files."""
        masks, problems = {}, []
        for case_id, positions in chosen.items():
            path, volume = self._returned(folder, case_id), self._native(case_id)
            try:
                mask = self._checked(path, volume, positions)
            except DataError as error:
                problems.append(error)
                continue
            masks[case_id] = label_to_grid(mask, volume.spacing_mm, self._task.dataset, outside=self._task.ignore_value)
        if problems:
            raise FewSliceError(f"{len(problems)} annotations cannot be used:\n" + "\n".join(map(str, problems)))
        return masks

    def _checked(self, path: Path, volume: Volume, positions: list[int]) -> np.ndarray:
        """Returns the native mask (X, Y, Z) uint8 of a file that came back."""
        found, shape = read_nifti(path, is_label=True), volume.image.shape[:3]
        template = path.parent.parent / _HANDED_OUT / path.name
        remedy = f"Begin again with {template}, and save it without resampling."
        if found.array.shape != shape:
            raise DataError(path, expected=f"shape {shape}", found=f"{found.array.shape}", remedy=remedy)
        distance = float(np.abs(found.affine - volume.affine).max())
        if distance > AFFINE_TOLERANCE_MM or not np.allclose(
            found.spacing_mm, volume.spacing_mm, atol=SPACING_TOLERANCE_MM
        ):
            raise DataError(
                path,
                expected=f"the grid of {template.name}",
                found=f"another one (voxels of {found.spacing_mm} mm, the affine differs by up to {distance:.4g})",
                remedy=remedy,
            )
        ignore = self._task.ignore_value
        mask = np.full(shape, ignore, np.uint8)
        mask[..., positions] = self._values(path, found.array[..., positions])
        others = np.delete(found.array, positions, axis=2)
        if (others != ignore).any():
            logging.warning("%s is annotated in slices that were not asked for; they are not used.", path)
        self._check_slices(path, mask, positions)
        return mask

    def _values(self, path: Path, drawn: np.ndarray) -> np.ndarray:
        ignore = self._task.ignore_value
        wrong = np.unique(drawn[(drawn < 0) | (drawn > ignore)])
        if len(wrong):
            raise DataError(
                path,
                expected=f"values 0 to {ignore} ({ignore} = not annotated)",
                found=f"{', '.join(map(str, wrong[:8]))} in the slices that were asked for",
                remedy="Relabel them.",
            )
        return drawn.astype(np.uint8)

    def _check_slices(self, path: Path, mask: np.ndarray, positions: list[int]) -> None:
        """Refuses slices without annotation, and dense masks with holes."""
        ignore, is_dense = self._task.ignore_value, self._task.kind == MASK
        drawn = {position: int((mask[..., position] != ignore).sum()) for position in positions}
        size = mask.shape[0] * mask.shape[1]
        bad = [position for position, count in drawn.items() if count < (size if is_dense else 1)]
        if bad:
            found = "pixels that are not annotated" if is_dense else "nothing"
            raise DataError(
                path,
                expected="a class in every pixel" if is_dense else "strokes",
                found=f"{found} in slices {', '.join(map(str, bad))} (counted from 0)",
                remedy="Annotate these slices and save the file again.",
            )
        empty = [str(position) for position in positions if is_dense and not mask[..., position].any()]
        if empty:
            logging.warning("%s shows no structure in slices %s (counted from 0).", path, ", ".join(empty))
