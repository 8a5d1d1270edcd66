"""What a person painted, as 3D Slicer, ITK-SNAP and other programs save it.

A label map (.nii, .nii.gz, .nrrd, .mha) holds the numbers that were handed out. A segmentation of 3D Slicer (.seg.nrrd)
holds named segments, which are matched by name: their numbers change whenever segments are added or exported.

| in the file | means |
|---|---|
| a structure | it |
| 0, a segment "background"; of a segmentation with a segment "not annotated": no segment | background |
| the ignore value, a segment "not annotated"; of a segmentation without one: no segment | not annotated |
| a label map without any ignore value (begun anew): a slice without structures | not annotated |
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.core.errors import DataError, few
from fewslice.data.io import geometry, itk
from fewslice.data.io.access import readable, visible
from fewslice.data.io.nifti import Grid, as_integers, read_nifti
from fewslice.data.volume import Case, Volume

BACKGROUND, NOT_ANNOTATED = "background", "not annotated"
ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")
_FRESH = "Save it again from the program that painted it."


def find_painted(folder: Path, case_id: str) -> Path | None:
    """Returns <case>_annotation with one of `ENDINGS` in a folder; None if there is none or no folder.

    Raises:
        DataError: two of them, or a folder that cannot be listed.
    """
    with readable(folder):
        there = visible(folder) if folder.is_dir() else []
    wanted = {_folded(f"{case_id}_annotation{ending}") for ending in ENDINGS}
    found = [path for path in there if _folded(path.name) in wanted]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        remedy = "Keep the newer one there and move the other elsewhere."
        raise DataError(folder, expected=f"one annotation of {case_id}", found=names, remedy=remedy)
    return found[0] if found else None


def read_painted(
    path: Path, volume: Volume, *, names: tuple[str, ...], ignore: int, takes_voxels: bool = False
) -> np.ndarray:
    """Reads what a person painted on the grid of a volume.

    The file may be cropped or larger, have its axes turned, and lie where any usual reading of the volume's header puts
    it, or the file that was handed out. Where its header says nothing (no codes, identity, lost scale) it is taken
    voxel by voxel, which the log says.

    Args:
        path: One of `ENDINGS`.
        volume: As its reader read it; image and header are looked at.
        names: Of the structures, classes 1, 2, ...
        ignore: Value of voxels without annotation: the number of classes.
        takes_voxels: Take a file of the volume's shape voxel by voxel, wherever its header puts it.

    Returns:
        (X, Y, Z) uint8 with the axes of `volume`: classes from 0, or `ignore`.

    Raises:
        DataError: a file that is missing, damaged or elsewhere; numbers or segments that are none of the structures;
            structures that overlap.
    """
    with readable(path):
        found, layers, facts = _read(Path(path))
    is_segmentation = any(itk.NAMED.fullmatch(key) for key in facts)
    if is_segmentation:
        labels, rest = _from_segments(path, layers, facts, names, ignore)
    elif len(layers) != 1:
        text = "a label map with one number per voxel, or a segmentation of 3D Slicer with named segments"
        raise DataError(path, expected=text, found=f"{len(layers)} numbers per voxel and no names", remedy=_FRESH)
    else:
        labels, rest = _from_codes(path, layers[0], names, ignore), ignore
    how = {"rest": rest, "ignore": ignore, "is_segmentation": is_segmentation, "takes_voxels": takes_voxels}
    placed = _on_grid(path, volume, labels, found, **how)
    placed = geometry.turned(placed, volume.axes)
    return placed if is_segmentation else _checked_slices(path, placed, names, ignore)


def completed(labels: np.ndarray, ignore: int, asked: np.ndarray | None = None) -> np.ndarray:
    """Returns masks: in each slice in which anything was painted or cleared, what is left becomes background.

    Args:
        labels: (X, Y, Z) uint8 of `read_painted`.
        asked: (X, Y, Z) bool, where this counts; default everywhere. Elsewhere the labels stay.
    """
    asked = np.ones(labels.shape, bool) if asked is None else asked
    is_begun = ((labels != ignore) & asked).any(axis=(0, 1))
    return np.where((labels == ignore) & asked & is_begun, 0, labels).astype(np.uint8)


def painting_grid(volume: Volume) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Returns affine (4, 4) and mm of a voxel that files for a person get, along the axes of the volume's file.

    Every program reads the same from it: true scale, right angles, as the reader understands the file.
    """
    back = geometry.inverse(volume.axes)
    spacing = geometry.permuted(volume.spacing_mm, back)
    affine = geometry.turned_affine(volume.affine, back, volume.image.shape)
    usual = geometry.readings(volume.header, affine, spacing)[0]
    if abs(np.linalg.det(usual[:3, :3])) < 1e-12:  # of a flat image
        usual = np.diag([-1.0, -1.0, 1.0, 1.0])
    return geometry.with_scale(usual, spacing, is_straight=True), spacing


def read_segments(path: Path, image: Grid, case: Case, names: tuple[str, ...]) -> np.ndarray:
    """Reads a segmentation as a full mask on the grid of its image: what is in no segment is background.

    Returns:
        (X, Y, Z) uint8 classes with the axes of the image's file.

    Raises:
        DataError: as `read_painted`, and for a segment "not annotated".
    """
    if NOT_ANNOTATED in map(_plain, itk.segment_names(path)):
        found, remedy = f"a segment {NOT_ANNOTATED!r}", "Leave the file out until the rest is annotated."
        raise DataError(path, expected="a mask of the whole volume", found=found, remedy=remedy)
    volume = Volume(case, image.array, None, None, image.spacing_mm, image.affine, header=image.header)
    ignore = len(names) + 1
    labels = read_painted(path, volume, names=names, ignore=ignore)
    return np.where(labels == ignore, 0, labels)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _plain(name: str) -> str:
    """Returns a name without differences of capitals, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]+", " ", _folded(name)).strip()


def _read(path: Path) -> tuple[Grid, np.ndarray, Mapping[str, str]]:
    """Returns geometry, (layers, X, Y, Z) integers and the named facts of a file."""
    if not path.name.lower().endswith(itk.ENDINGS):
        found = read_nifti(path, is_label=True)
        return found, found.array[np.newaxis], {}
    found, facts = itk.read_layers(path)
    return found, as_integers(path, np.moveaxis(found.array, -1, 0)), facts


def _from_codes(path: Path, codes: np.ndarray, names: tuple[str, ...], ignore: int) -> np.ndarray:
    wrong = np.unique(codes[(codes < 0) | (codes > ignore)])
    if len(wrong):
        known = (BACKGROUND, *names, NOT_ANNOTATED)
        listed = ", ".join(f"{number} {name}" for number, name in zip((*range(ignore), ignore), known, strict=True))
        found = few([f"{value} ({(codes == value).sum()} voxels)" for value in wrong.tolist()], 8)
        raise DataError(path, expected=f"the numbers {listed}", found=found, remedy="Relabel them.")
    return codes.astype(np.uint8)


def _from_segments(
    path: Path, layers: np.ndarray, facts: Mapping[str, str], names: tuple[str, ...], ignore: int
) -> tuple[np.ndarray, int]:
    """Returns (X, Y, Z) uint8 labels by the names of segments, and the label of what is in no segment."""
    numbers = {_plain(name): number for number, name in enumerate(names, 1)}
    numbers |= {BACKGROUND: 0, NOT_ANNOTATED: ignore}
    masks, unknown = {}, []
    for place in sorted({int(match[1]) for match in map(itk.NAMED.fullmatch, facts) if match}):
        name = facts.get(f"Segment{place}_Name") or facts[f"Segment{place}_ID"]
        try:
            layer = layers[int(facts.get(f"Segment{place}_Layer", place if len(layers) > 1 else 0))]
            inside = layer == int(facts.get(f"Segment{place}_LabelValue", 1))
        except (ValueError, IndexError) as error:
            found = f"segment {name!r} without a layer or number in it ({error})"
            raise DataError(path, expected="a segmentation of 3D Slicer", found=found, remedy=_FRESH) from error
        if (number := numbers.get(_plain(name))) is not None:
            masks[number] = masks.get(number, False) | inside
        elif inside.any():
            unknown.append(f"{name!r} ({inside.sum()} voxels)")
    if unknown:
        expected = f"segments called {', '.join((*names, BACKGROUND, NOT_ANNOTATED))}"
        remedy = "Give each the name of what it shows (double click on the name in the Segment Editor), and save."
        raise DataError(path, expected=expected, found=f"also {few(unknown, 8)}", remedy=remedy)
    rest = 0 if ignore in masks else ignore
    labels = np.full(layers.shape[1:], rest, np.uint8)
    for number in sorted(masks, key=lambda number: 0 if number == ignore else 1 + number):
        inside, twice = masks[number], masks[number] & (labels > 0) & (labels < ignore)
        if number and number < ignore and twice.any():
            other = names[int(labels[twice][0]) - 1]
            found = f"{twice.sum()} voxels in both {other!r} and {names[number - 1]!r}"
            remedy = "Take one from the other (Segment Editor, Logical operators, Subtract), and save."
            raise DataError(path, expected="one structure per voxel", found=found, remedy=remedy)
        labels[inside] = number
    return labels, rest


def _checked_slices(path: Path, labels: np.ndarray, names: tuple[str, ...], ignore: int) -> np.ndarray:
    """Returns the labels of a label map, slices without structures not annotated where it was begun anew."""
    first, is_shown = labels[0, 0], ((labels > 0) & (labels < ignore)).any(axis=(0, 1))
    full = np.flatnonzero((labels == first).all(axis=(0, 1)) & is_shown)
    if len(full) and not (labels == ignore).all(axis=(0, 1)).any():
        expected = f"numbers as they were handed out ({ignore} is {NOT_ANNOTATED})"
        found = f"{len(full)} whole slices of number {first[full[0]]}, {names[first[full[0]] - 1]}"
        remedy = "Did the program number anew, as 3D Slicer's export to a label map does? Save it as .seg.nrrd."
        raise DataError(path, expected=expected, found=found, remedy=remedy)
    if not (labels == ignore).any() and not is_shown.all():
        labels = np.where(is_shown, labels, ignore).astype(np.uint8)
    return labels


def _on_grid(
    path: Path,
    volume: Volume,
    labels: np.ndarray,
    found: Grid,
    *,
    rest: int,
    ignore: int,
    is_segmentation: bool,
    takes_voxels: bool,
) -> np.ndarray:
    """Returns labels on the grid of a volume's file, with the axes of that file."""
    painting, spacing = painting_grid(volume)
    shape = geometry.permuted(volume.image.shape[:3], geometry.inverse(volume.axes))
    if labels.size == 1 < np.prod(shape):  # so 3D Slicer saves segments of which none has a voxel
        return np.full(shape, ignore, np.uint8)
    ours = [painting, *geometry.readings(volume.header, painting, spacing)]
    theirs = geometry.readings(found.header, found.affine, found.spacing_mm)
    if labels.shape == shape and geometry.fits(ours, theirs, shape):
        return labels
    for reading in ours if found.header is None or geometry.has_orientation(found.header) else ():
        axes = geometry.axes_between(reading, theirs[0])
        moved, affine = geometry.turned(labels, axes), geometry.turned_affine(theirs[0], axes, labels.shape)
        placed = _embedded(moved, np.linalg.solve(reading, affine), shape, rest, is_free=is_segmentation)
        if placed is not None and _count(placed, ignore) == _count(labels, ignore):
            return placed
    said = geometry.describe(found.spacing_mm, theirs[0])
    if labels.shape == shape and (takes_voxels or _is_silent(found, theirs[0], painting, spacing)):
        logging.warning("%s is taken voxel by voxel: its header (%s) does not place it on the volume.", path, said)
        return labels
    off = f", a corner {geometry.distance_mm(painting, theirs[0], shape):.3g} mm off" if labels.shape == shape else ""
    raise DataError(
        path,
        expected=f"the grid of {volume.case.case_id}: shape {shape}, {geometry.describe(spacing, painting)}, corners "
        f"within {geometry.tolerance_mm(painting):.2g} mm",
        found=f"shape {labels.shape}, {said}{off}",
        remedy="Is it the annotation of another scan? If it lies on this one voxel by voxel and only its header is "
        "wrong, take the header of the scan: nibabel.save(nibabel.Nifti1Image(label.dataobj, None, image.header), "
        "file). Otherwise resample it to the scan by nearest neighbour (3D Slicer: Segmentations, Export, Reference).",
    )


def _embedded(
    array: np.ndarray, to_volume: np.ndarray, shape: tuple[int, ...], fill: int, *, is_free: bool
) -> np.ndarray | None:
    """Returns an array in one of another extent on the same lattice; None where lattices differ or do not meet.

    Args:
        to_volume: (4, 4), voxels of the array to voxels of the volume.
        is_free: The array may reach beyond the volume along one axis and be shorter along another.
    """
    first = np.rint(to_volume[:3, 3]).astype(int)
    lattice = np.eye(4)
    lattice[:3, 3] = first
    low, high = np.maximum(first, 0), np.minimum(first + array.shape, shape)
    is_part, is_larger = (high - low == array.shape).all(), (high - low == shape).all()
    if geometry.distance_mm(lattice, to_volume, array.shape) > geometry.TOLERANCE or (low >= high).any():
        return None
    if not (is_free or is_part or is_larger):
        return None
    whole = np.full(shape, fill, np.uint8)
    to, of = (tuple(map(slice, low - start, high - start)) for start in (0, first))
    whole[to] = array[of]
    return whole


def _count(labels: np.ndarray, ignore: int) -> int:
    return int(((labels > 0) & (labels < ignore)).sum())


def _is_silent(found: Grid, theirs: np.ndarray, painting: np.ndarray, spacing_mm: tuple[float, ...]) -> bool:
    """Whether a header says nothing about the place: no codes, the identity, or no scale where there should be one."""
    if found.header is not None and not geometry.has_orientation(found.header):
        return True
    is_default = np.allclose(abs(found.affine), np.eye(4), atol=1e-4)
    has_no_scale = np.allclose(geometry.column_lengths(found.affine), 1) and not np.allclose(spacing_mm, 1)
    return is_default or (has_no_scale and geometry.letters(theirs) == geometry.letters(painting))
