"""Remarks on how the volumes of a dataset lie: what turning cannot mend, and headers that contradict themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fewslice.data.io import geometry
from fewslice.data.readers.selection import few
from fewslice.data.volume import Volume

_LONGER = 1.2  # times the other two sides: the slices probably lie along this axis
_OBLIQUE_DEGREES = 30.0  # beyond it the nearest axis of the body may differ between volumes that lie nearly alike
_LINES = {**dict.fromkeys("LR", "left-right"), **dict.fromkeys("PA", "back-front"), **dict.fromkeys("IS", "feet-head")}


@dataclass(frozen=True)
class Lie:
    """How the stored array of one volume lies.

    Attributes:
        directions: Where the stored axes point, such as "LPS"; "" where no header says so.
        is_silent: There is a header, and it does not say so.
        spacing_mm: Size of a voxel along the stored axes, as pixdim says.
        lengths_mm: The same as the affine says; () where nothing does.
        tilt_degrees: Largest angle between an axis and the nearest one of the body.
        apart_mm: How far sform and qform place the same corner apart; 0.0 up to one side of a pixel.
    """

    directions: str
    is_silent: bool
    spacing_mm: tuple[float, ...]
    lengths_mm: tuple[float, ...]
    tilt_degrees: float
    apart_mm: float


def lie_of(volume: Volume) -> Lie:
    """Returns how a volume lies in its file."""
    header, back = volume.header, geometry.inverse(volume.axes)
    spacing, shape = (geometry.permuted(values, back) for values in (volume.spacing_mm, volume.image.shape[:3]))
    if not geometry.has_orientation(header):
        return Lie("", header is not None, spacing, (), 0.0, 0.0)
    every = geometry.readings(header, volume.affine, spacing)
    cosines = every[0][:3, :3] / np.where(lengths := geometry.column_lengths(every[0]), lengths, 1.0)
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(cosines).max(axis=0).min(), 0, 1)))) if lengths.all() else 0.0
    apart = 0.0
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        apart = geometry.largest_distance_mm(every[0], every[-1], shape)
    best = header.get_best_affine()
    stated = tuple(geometry.column_lengths(best).tolist())
    directions = geometry.direction_letters(every[0])
    return Lie(directions, False, spacing, stated, tilt, apart if apart > min(spacing[:2]) else 0.0)


def geometry_notes(lies: Mapping[str, Lie], orientation: str) -> list[str]:
    """Returns one remark per kind of trouble, each with the volumes that have it.

    Args:
        lies: Case id -> how it lies.
        orientation: The dataset's setting.
    """
    notes, known = [], {name: lie for name, lie in lies.items() if lie.directions}
    is_canonical = orientation == "canonical"
    usual, others = _odd_ones(known, lambda lie: lie.directions)
    if others:
        how = "arrays are turned to one orientation, and predictions come back as their scan is stored"
        how = how if is_canonical else 'arrays stay as they are (`orientation = "as_stored"`); "canonical" turns them'
        notes.append(f"{_counted(others, lies)} stored {_stated(others, known)}, the others {usual}: {how}")
    usual, others = _odd_ones(known, lambda lie: _LINES[lie.directions[2]])
    if others:
        found = " and ".join(sorted({_LINES[known[name].directions[2]] for name in others}))
        notes.append(
            f"the third axis, along which slices are counted, runs {found} in {_named(others, lies)}, in the others "
            f"{usual}: their slices show another plane"
        )
    silent = [name for name, lie in lies.items() if lie.is_silent]
    if silent and known:
        notes.append(
            f"{_counted(silent, lies)} without orientation (sform_code and qform_code are 0) and used as stored; check "
            "that left and right are where the others have them"
        )
    oblique = [name for name, lie in known.items() if lie.tilt_degrees > _OBLIQUE_DEGREES]
    if oblique and is_canonical:
        worst = max(known[name].tilt_degrees for name in oblique)
        notes.append(
            f"{_counted(oblique, lies)} oblique (up to {worst:.0f} degrees off the body's axes): volumes that lie "
            'nearly alike may be turned differently; if they are stored alike, set `orientation = "as_stored"`'
        )
    for name, lie in _of_kinds(lies, lambda lie: lie.lengths_mm and _is_off(lie)):
        notes.append(
            f"pixdim says {_sides(lie.spacing_mm)}, the affine {_sides(lie.lengths_mm)} in {name}: pixdim counts. If "
            "it is wrong, all mm and the resampling are; correct the headers"
        )
    for name, lie in _of_kinds(lies, lambda lie: _long_axis(lie) is not None):
        notes.append(
            f"the largest side of a voxel ({_sides(lie.spacing_mm)}) lies on axis {_long_axis(lie) + 1} in {name}: "
            "slices are taken along axis 3. If they were acquired along the other, store that axis last"
        )
    apart = [name for name, lie in lies.items() if lie.apart_mm]
    if apart:
        worst = max(lies[name].apart_mm for name in apart)
        notes.append(f"sform and qform place {_named(apart, lies)} up to {worst:.3g} mm apart; the sform counts")
    return notes


def _odd_ones(known: Mapping[str, Lie], key: Callable[[Lie], str]) -> tuple[str, list[str]]:
    """Returns the most frequent value of a key, and the volumes that have another."""
    values = {name: key(lie) for name, lie in known.items()}
    usual = Counter(values.values()).most_common(1)[0][0] if values else ""
    return usual, [name for name, value in values.items() if value != usual]


def _of_kinds(lies: Mapping[str, Lie], is_meant: Callable[[Lie], object]) -> list[tuple[str, Lie]]:
    """Returns which volumes are meant, in words, and the first of them; nothing where none is."""
    names = [name for name, lie in lies.items() if is_meant(lie)]
    return [(_named(names, lies), lies[names[0]])] if names else []


def _is_off(lie: Lie) -> bool:
    return any(abs(mm - side) > 0.01 * side for mm, side in zip(lie.lengths_mm, lie.spacing_mm, strict=True) if mm)


def _long_axis(lie: Lie) -> int | None:
    """Returns the stored axis, 0 or 1, whose voxel side is the largest by far; None if there is none."""
    for sides in filter(None, (lie.spacing_mm, lie.lengths_mm)):
        axis = int(np.argmax(sides))
        if axis < 2 and sides[axis] > _LONGER * sorted(sides)[1]:
            return axis
    return None


def _sides(sides: tuple[float, ...]) -> str:
    return " x ".join(f"{side:.4g}" for side in sides) + " mm"


def _stated(names: list[str], known: Mapping[str, Lie]) -> str:
    return " or ".join(sorted({known[name].directions for name in names}))


def _named(names: list[str], lies: Mapping[str, Lie]) -> str:
    return f"all {len(lies)} volumes" if len(names) == len(lies) > 1 else few(names)


def _counted(names: list[str], lies: Mapping[str, Lie]) -> str:
    return f"{len(names)} of {len(lies)} volumes ({few(names)}) {'is' if len(names) == 1 else 'are'}"
