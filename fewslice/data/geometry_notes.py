"""Notes on how the volumes of a dataset lie: what turning cannot mend, and headers that contradict themselves."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from fewslice.core.errors import few
from fewslice.data.io import geometry
from fewslice.data.volume import Volume

_LONGER = 1.2  # times the other two sides: the slices probably lie along this axis
_OBLIQUE_DEGREES = 30.0  # beyond it the nearest axis of the body may differ between volumes that lie nearly alike
_LINES = dict.fromkeys("LR", "left-right") | dict.fromkeys("PA", "back-front") | dict.fromkeys("IS", "feet-head")
_PIXDIM = (
    "pixdim says {pixdim}, the affine {stated} in {who}: pixdim counts. If it is wrong, all mm and the resampling are; "
    "correct the headers"
)
_LONG = (
    "the largest side of a voxel ({pixdim}) lies on axis {axis} in {who}: slices are taken along axis 3. If they were "
    "acquired along the other, store that axis last"
)
_OBLIQUE = (
    "{count} are oblique ({who}, {tilt_degrees:.0f} degrees): some that lie nearly alike may be turned differently. If "
    'all are stored alike, set `orientation = "as_stored"`'
)


@dataclass(frozen=True)
class Lie:
    """How the stored array of one volume lies."""

    spacing_mm: tuple[float, ...]  # along the stored axes, as pixdim says
    lengths_mm: tuple[float, ...]  # the same as the affine says; that of pixdim where nothing does
    is_silent: bool = False  # there is a header, and it does not say how the axes lie
    directions: str = ""  # where the stored axes point, such as "LPS"
    tilt_degrees: float = 0.0  # largest angle between an axis and the nearest one of the body
    cosines: np.ndarray = field(default_factory=lambda: np.eye(3), repr=False, compare=False)  # columns: stored axes
    apart_mm: float = 0.0  # between the same corner by sform and by qform; 0.0 up to one side of a pixel

    @property
    def long_axis(self) -> int | None:
        """The stored axis, 0 or 1, whose voxel side is the largest by far; None if there is none."""
        for sides in (self.spacing_mm, self.lengths_mm):
            axis = int(np.argmax(sides))
            if axis < 2 and sides[axis] > _LONGER * sorted(sides)[1]:
                return axis
        return None


def lie_of(volume: Volume) -> Lie:
    """Returns how a volume lies in its file."""
    header, back = volume.header, geometry.inverse(volume.axes)
    spacing, shape = (geometry.permuted(values, back) for values in (volume.spacing_mm, volume.image.shape[:3]))
    if not geometry.has_orientation(header):
        return Lie(spacing, spacing, header is not None)
    every = geometry.readings(header, volume.affine, spacing)
    lengths = geometry.column_lengths(header.get_best_affine()).tolist()
    stated = tuple(mm or side for mm, side in zip(lengths, spacing, strict=True))
    cosines = every[0][:3, :3] / spacing
    nearest = np.abs(cosines).max(axis=0)
    tilt = float(np.degrees(np.arccos(min(1.0, *nearest[nearest > 0]))))
    apart = geometry.distance_mm(every[0], every[-1], shape) if len(every) == 4 else 0.0
    apart = apart if apart > min(spacing[:2]) else 0.0
    return Lie(spacing, stated, False, geometry.letters(every[0]), tilt, cosines, apart)


def best_orientation(lies: Collection[Lie]) -> str:
    """Returns the `orientation` for a new dataset: "as_stored" for oblique scans within 60 degrees of each other.

    They are stored alike (short-axis views), but the axes of the body nearest to theirs may differ.
    """
    known = [lie for lie in lies if lie.directions]
    is_alike = all(np.sum(lie.cosines * known[0].cosines) > 2 for lie in known)  # the trace, 1 + 2 cos(angle)
    is_oblique = any(lie.tilt_degrees > _OBLIQUE_DEGREES for lie in known)
    return "as_stored" if is_alike and is_oblique else "canonical"


def geometry_notes(lies: Mapping[str, Lie], orientation: str) -> list[str]:
    """Returns one note per kind of trouble, with the volumes (case id -> how it lies) that have it."""
    notes, known = [], {name: lie for name, lie in lies.items() if lie.directions}
    is_canonical = orientation == "canonical"

    def add(text: str, is_meant: Callable[[Lie], object]) -> None:
        groups: dict[object, list[str]] = {}
        for name, lie in lies.items():
            if is_meant(lie):
                groups.setdefault((lie.spacing_mm, lie.lengths_mm) if text == _PIXDIM else "", []).append(name)
        values = [*groups.values()]
        for names in values[:3]:  # ACDC has dozens
            who = f"all {len(lies)} volumes" if len(names) == len(lies) > 1 else few(names)
            first, count = lies[names[0]], f"{len(names)} of {len(lies)} volumes"
            pixdim, stated = (
                " x ".join(f"{side:.4g}" for side in sides) + " mm" for sides in (first.spacing_mm, first.lengths_mm)
            )
            facts = {"pixdim": pixdim, "stated": stated, "axis": (first.long_axis or 0) + 1}
            notes.append(text.format(who=who, count=count, **facts, **dataclasses.asdict(first)))
        if rest := sum(values[3:], []):
            notes.append(f"pixdim and affine differ, with other values, in {len(rest)} more: {few(rest)}")

    if known and (is_canonical or best_orientation(known.values()) == "canonical"):
        how = 'arrays stay so (`orientation = "as_stored"`); "canonical" turns them'
        how = "arrays are turned to one, and predictions come back as their scan is stored" if is_canonical else how
        if kinds := _kinds({name: lie.directions for name, lie in known.items()}):
            notes.append(f"volumes are stored in several orientations, {kinds}: {how}")
        if kinds := _kinds({name: _LINES[lie.directions[2]] for name, lie in known.items()}):
            notes.append(f"the third axis, that of the slices, does not run alike in all volumes: {kinds}")
        how = "{count} have no orientation (sform_code and qform_code are 0: {who}) and are used as stored"
        add(how, lambda lie: lie.is_silent)
    add(_OBLIQUE, lambda lie: is_canonical and lie.tilt_degrees > _OBLIQUE_DEGREES)
    add(_PIXDIM, lambda lie: not np.allclose(lie.lengths_mm, lie.spacing_mm, rtol=0.01))
    add(_LONG, lambda lie: lie.long_axis is not None)
    add("sform and qform place {who} {apart_mm:.3g} mm apart; the sform counts", lambda lie: lie.apart_mm)
    return notes


def _kinds(kind_of: Mapping[str, str]) -> str:
    """Returns each kind with its count and volumes, "2 LPS (p0, p2), 1 RPS (p1)"; "" where there is only one."""
    groups = [
        f"{count} {kind} ({few([name for name in kind_of if kind_of[name] == kind])})"
        for kind, count in Counter(kind_of.values()).most_common()
    ]
    return ", ".join(groups) if len(groups) > 1 else ""
