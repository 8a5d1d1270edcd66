"""Where voxels lie in the body: arrays turned to common axes and back, and two files compared by their corners in mm.

Axes of a turned array are three numbers: the stored axis that each axis shows, counted from 1, negative where it runs
the other way. (1, 2, 3) is the array as it is stored.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nibabel import Nifti1Header as Header

Axes = tuple[int, int, int]
STORED: Axes = (1, 2, 3)
TOLERANCE = 0.05  # of the shorter side of a pixel: so far may the corners of an image and its label lie apart
_SAME_SCALE = 1e-3  # relative difference of a column's length and pixdim that is rounding


def axes_between(affine: np.ndarray, other: np.ndarray) -> Axes:
    """Returns the axes that turn an array with the affine `other` to point where one with `affine` does."""
    here, there = world_axes(affine) or STORED, world_axes(other) or STORED
    places = {abs(axis): (place + 1) * (1 if axis > 0 else -1) for place, axis in enumerate(there)}
    return tuple(places[abs(axis)] * (1 if axis > 0 else -1) for axis in here)


def has_orientation(header: Header | None) -> bool:
    """Whether a header says how the voxels lie: sform_code and qform_code are not both 0."""
    return header is not None and bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def world_axes(affine: np.ndarray) -> Axes | None:
    """Returns 1 (left-right), 2 (back-front) or 3 (feet-head) for each stored axis, negative where it runs to L, P, I.

    The nearest assignment of axes in all; None where a column of the affine is zero.
    """
    lengths = column_lengths(affine)
    if not (lengths > 0).all():
        return None
    cosines = affine[:3, :3] / lengths
    columns = np.arange(3)
    best = max(itertools.permutations(range(3)), key=lambda rows: round(abs(cosines[rows, columns]).sum(), 6))
    return tuple((row + 1) * (1 if cosines[row, column] > 0 else -1) for column, row in enumerate(best))


def canonical_axes(affine: np.ndarray) -> Axes:
    """Returns the axes that point to R, A and S. The third stays the third; the first two are swapped if need be."""
    world = world_axes(affine) or STORED
    order = (*sorted((0, 1), key=lambda column: abs(world[column])), 2)
    return tuple((column + 1) * (1 if world[column] > 0 else -1) for column in order)


def inverse(axes: Axes) -> Axes:
    """Returns the axes that turn an array back."""
    back = [0, 0, 0]
    for place, axis in enumerate(axes, start=1):
        back[abs(axis) - 1] = place if axis > 0 else -place
    return tuple(back)


def turned(array: np.ndarray, axes: Axes) -> np.ndarray:
    """Returns a stored array (X, Y, Z, ...) with these axes; the same object where nothing changes."""
    if tuple(axes) == STORED:
        return array
    moved = array.transpose(*(abs(axis) - 1 for axis in axes), *range(3, array.ndim))
    return np.ascontiguousarray(moved[tuple(slice(None, None, 1 if axis > 0 else -1) for axis in axes)])


def turned_affine(affine: np.ndarray, axes: Axes, shape: Sequence[int]) -> np.ndarray:
    """Returns the affine of the turned array of a stored one of this shape."""
    to_stored = np.zeros((4, 4))
    to_stored[3, 3] = 1.0
    for place, axis in enumerate(axes):
        to_stored[abs(axis) - 1, place] = np.sign(axis)
        to_stored[abs(axis) - 1, 3] = 0 if axis > 0 else shape[abs(axis) - 1] - 1
    return affine @ to_stored


def permuted(values: Sequence, axes: Axes) -> tuple:
    """Returns what belongs to the three stored axes in the order of the turned ones."""
    return tuple(values[abs(axis) - 1] for axis in axes)


def column_lengths(affine: np.ndarray) -> np.ndarray:
    """Returns (3,) mm from one voxel to the next along each axis, as the affine says."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def is_same_scale(affine: np.ndarray, spacing_mm: Sequence[float]) -> bool:
    """Whether the columns of an affine are as long as the voxels."""
    lengths = column_lengths(affine)
    return bool((np.abs(lengths - spacing_mm) <= _SAME_SCALE * np.asarray(spacing_mm))[lengths > 0].all())


def with_scale(affine: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Returns the affine with columns as long as the voxels. (ACDC's have unit length.)"""
    scaled, lengths = np.array(affine, np.float64), column_lengths(affine)
    if not is_same_scale(affine, spacing_mm):
        scaled[:3, :3] *= np.asarray(spacing_mm) / np.where(lengths > 0, lengths, 1.0)
    return scaled


def readings(header: Header | None, affine: np.ndarray, spacing_mm: Sequence[float]) -> list[np.ndarray]:
    """Returns the affines (4, 4) that programs take from one header; the first one is what counts here.

    The sform with the voxels' scale, without shear, as it stands; the qform. Of a header with neither: from the first
    voxel to L, P, S (ITK), the centred one of nibabel, and that of Analyze.
    """
    if header is None:
        return [with_scale(affine, spacing_mm)]
    if not has_orientation(header):
        scale = np.diag([*spacing_mm, 1.0])
        return [np.diag([-1.0, -1.0, 1.0, 1.0]) @ scale, header.get_base_affine(), scale]
    found, codes = [], (int(header["sform_code"]), int(header["qform_code"]))
    if codes[0] > 0:
        sform = header.get_sform()
        scaled = with_scale(sform, spacing_mm)
        found += [scaled, without_shear(scaled, spacing_mm), sform]
    if codes[1] > 0:
        try:
            found.append(header.get_qform())
        except ValueError:  # a quaternion that is none; nibabel's HeaderDataError is not needed where an sform is
            found += [] if found else [affine]
    return found


def without_shear(affine: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Returns the nearest affine with orthogonal axes, as a qform and ITK have them."""
    straight, lengths = np.array(affine, np.float64), column_lengths(affine)
    if (lengths > 0).all():
        left, _, right = np.linalg.svd(affine[:3, :3] / lengths)
        straight[:3, :3] = left @ right * np.asarray(spacing_mm)
    return straight


def for_painting(header: Header | None, spacing_mm: Sequence[float]) -> Header | None:
    """Returns a header on which programs agree: where scale or angles of the sform are off, with scale and a qform."""
    if header is None or header["sform_code"] <= 0:
        return header
    sform, code = header.get_sform(), int(header["sform_code"])
    scaled, header = with_scale(sform, spacing_mm), header.copy()
    if not np.allclose(sform, without_shear(scaled, spacing_mm), rtol=0, atol=_SAME_SCALE * min(spacing_mm)):
        header.set_sform(scaled, code)
        if header["qform_code"] <= 0:
            header.set_qform(scaled, code, strip_shears=True)
    return header


def largest_distance_mm(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Returns how far two affines place the same corner voxel apart, at the worst of the eight corners."""
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, size - 1) for size in shape[:3]))]).T
    return float(np.linalg.norm(((np.asarray(affine) - other) @ corners)[:3], axis=0).max())


def tolerance_mm(affine: np.ndarray) -> float:
    """Returns how far apart two corners may lie: a twentieth of the shorter side of a pixel."""
    return TOLERANCE * float(column_lengths(affine)[:2].min())


def misfit_mm(image: list[np.ndarray], label: list[np.ndarray], shape: Sequence[int]) -> float:
    """Returns 0.0 where a label lies on its image, else how far its worst corner is off.

    Args:
        image: All `readings` of the image's header.
        label: Those of the label's that may count, the first one for the distance.
        shape: Voxels along the stored axes.
    """
    for ours, theirs in itertools.product(image, label):
        if largest_distance_mm(ours, theirs, shape) <= tolerance_mm(ours):
            return 0.0
    return largest_distance_mm(image[0], label[0], shape)


def label_readings(header: Header | None, affine: np.ndarray, spacing_mm: Sequence[float]) -> list[np.ndarray]:
    """Returns the affines that a label may mean: the usual one; as it stands where pixdim is 1 and was never set."""
    usual = readings(header, affine, spacing_mm)[:1]
    return usual + ([affine] if has_orientation(header) and np.allclose(spacing_mm, 1.0) else [])


def direction_letters(affine: np.ndarray) -> str:
    """Returns where the stored axes point, such as "LPS"; "" where a column of the affine is zero."""
    return "".join("RAS"[axis - 1] if axis > 0 else "LPI"[-axis - 1] for axis in world_axes(affine) or ())
