"""Where voxels lie in the body: arrays turned to common axes and back, and the affines that programs read in a header.

Axes of a turned array are three numbers: the stored axis that each axis shows, counted from 1, negative where it runs
the other way. (1, 2, 3) is the array as it is stored.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nibabel import Nifti1Header as Header

Axes = tuple[int, int, int]
STORED: Axes = (1, 2, 3)
TOLERANCE = 0.05  # of the shorter side of a pixel: so far may the corners of an image and its label lie apart


def has_orientation(header: Header | None) -> bool:
    """Whether a header says how the voxels lie: sform_code and qform_code are not both 0."""
    return header is not None and bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def world_axes(affine: np.ndarray) -> Axes:
    """Returns 1 (to R), 2 (to A) or 3 (to S) for each stored axis, negative where it runs to L, P or I.

    It is the nearest assignment of all three together; (1, 2, 3) where a column of the affine is zero.
    """
    lengths, columns = column_lengths(affine), np.arange(3)
    if not (lengths > 0).all():
        return STORED
    cosines = affine[:3, :3] / lengths
    best = max(itertools.permutations(range(3)), key=lambda rows: round(abs(cosines[rows, columns]).sum(), 6))
    return tuple((row + 1) * (1 if cosines[row, column] > 0 else -1) for column, row in enumerate(best))


def letters(affine: np.ndarray) -> str:
    """Returns where the stored axes point, such as "LPS"."""
    return "".join("RAS"[axis - 1] if axis > 0 else "LPI"[-axis - 1] for axis in world_axes(affine))


def canonical_axes(affine: np.ndarray) -> Axes:
    """Returns the axes that point to R, A and S. The third stays the third; the first two are swapped if need be."""
    world = world_axes(affine)
    order = (*sorted((0, 1), key=lambda column: abs(world[column])), 2)
    return tuple((column + 1) * (1 if world[column] > 0 else -1) for column in order)


def axes_between(affine: np.ndarray, other: np.ndarray) -> Axes:
    """Returns the axes that turn an array with the affine `other` to point where one with `affine` does."""
    back = inverse(world_axes(other))
    return tuple(back[abs(axis) - 1] * (1 if axis > 0 else -1) for axis in world_axes(affine))


def inverse(axes: Axes) -> Axes:
    """Returns the axes that turn an array back."""
    places = {abs(axis): place if axis > 0 else -place for place, axis in enumerate(axes, start=1)}
    return places[1], places[2], places[3]


def turned(array: np.ndarray, axes: Axes) -> np.ndarray:
    """Returns a stored array (X, Y, Z, ...) with these axes; the same object where nothing changes."""
    if tuple(axes) == STORED:
        return array
    moved = array.transpose(*(abs(axis) - 1 for axis in axes), *range(3, array.ndim))
    return np.ascontiguousarray(moved[tuple(slice(None, None, 1 if axis > 0 else -1) for axis in axes)])


def turned_affine(affine: np.ndarray, axes: Axes, shape: Sequence[int]) -> np.ndarray:
    """Returns the affine of the turned array of a stored one of this shape."""
    to_stored = np.diag([0.0, 0.0, 0.0, 1.0])
    for place, axis in enumerate(axes):
        to_stored[abs(axis) - 1, [place, 3]] = np.sign(axis), 0 if axis > 0 else shape[abs(axis) - 1] - 1
    return affine @ to_stored


def permuted(values: Sequence, axes: Axes) -> tuple:
    """Returns what belongs to the three stored axes in the order of the turned ones."""
    return tuple(values[abs(axis) - 1] for axis in axes)


def column_lengths(affine: np.ndarray) -> np.ndarray:
    """Returns (3,) mm from one voxel to the next along each axis, as the affine says."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def with_scale(affine: np.ndarray, spacing_mm: Sequence[float], *, is_straight: bool = False) -> np.ndarray:
    """Returns the affine with columns as long as the voxels (ACDC's have unit length), and orthogonal if asked for."""
    scaled, lengths = np.array(affine, np.float64), column_lengths(affine)
    cosines = scaled[:3, :3] / np.where(lengths > 0, lengths, 1.0)
    if is_straight and (lengths > 0).all():
        left, _, right = np.linalg.svd(cosines)
        cosines = left @ right
    scaled[:3, :3] = cosines * np.asarray(spacing_mm)
    return scaled


def readings(header: Header | None, affine: np.ndarray, spacing_mm: Sequence[float]) -> list[np.ndarray]:
    """Returns the affines (4, 4) that programs take from one header; the first one is what counts here.

    The sform with the scale of pixdim, without shear, as it stands; the qform. Of a header with neither: to L, P, S
    from the first voxel (ITK), the centred one of nibabel, that of Analyze.
    """
    if header is None:
        return [with_scale(affine, spacing_mm)]
    if not has_orientation(header):
        scale = np.diag([*spacing_mm, 1.0])
        return [np.diag([-1.0, -1.0, 1.0, 1.0]) @ scale, header.get_base_affine(), scale]
    every = []
    if header["sform_code"] > 0:
        sform = header.get_sform()
        every += [with_scale(sform, spacing_mm), with_scale(sform, spacing_mm, is_straight=True), sform]
    if header["qform_code"] > 0:
        with contextlib.suppress(ValueError):  # a quaternion that is none does no harm beside an sform
            header = header.copy()
            header["pixdim"][:4] = -1 if header["pixdim"][0] < 0 else 1, *spacing_mm
            every.append(header.get_qform())
    return every or [with_scale(affine, spacing_mm)]


def distance_mm(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Returns how far apart two affines place the same corner voxel, at the worst of the eight corners."""
    corners = np.array([*itertools.product(*((0, size - 1) for size in shape[:3]), (1,))]).T
    return float(np.linalg.norm(((np.asarray(affine) - other) @ corners)[:3], axis=0).max())


def tolerance_mm(affine: np.ndarray) -> float:
    """Returns how far apart two corners may lie: a twentieth of the shorter side of a pixel."""
    return TOLERANCE * float(column_lengths(affine)[:2].min())


def describe(spacing_mm: Sequence[float], affine: np.ndarray) -> str:
    """Returns how voxels lie, in words for a message."""
    return f"voxels of {tuple(round(float(side), 5) for side in spacing_mm)} mm, axes to {letters(affine)}"


def fits(image: Sequence[np.ndarray], label: Sequence[np.ndarray], shape: Sequence[int]) -> bool:
    """Whether the corners of an image and a label lie together by any of their readings; voxels along stored axes."""
    return any(distance_mm(a, b, shape) <= tolerance_mm(a) for a, b in itertools.product(image, label))
