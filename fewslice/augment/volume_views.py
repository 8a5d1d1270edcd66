"""Rotated, scaled or mirrored views of a whole volume, and the way back for the predictions made on them.

Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645: a pseudo-label is trusted if the network says the same about
two views of the volume. A view is one of three operations with equal probability: rotation in the plane by -30 to 30
degrees, scaling by 0.9 to 1.1, mirroring of the columns. All slices of the volume undergo the same one.

Notes:
    Differs from the published code in three ways. There a scaling by s was undone by a scaling by 2 - s, here by the
    exact inverse of the sampling grid, whose factor is that of the rounded size and whose centre is that of the crop.
    There the scaling also hit the class axis of the probabilities, here it never does. And there a pixel that a view
    does not show counted as background; `visible` is the mask of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from fewslice.augment.affine import rotation_points
from fewslice.augment.interpolate import BilinearSampler, inside

KINDS = ("rotation", "scaling", "mirror")
MAX_ROTATION_DEG = 30.0
MAX_SCALING = 0.1
SEEN_ABOVE = 1 - 1e-4


@dataclass(frozen=True)
class VolumeView:
    """One operation on all slices of a volume.

    Attributes:
        kind: "rotation", "scaling" or "mirror".
        amount: Degrees (positive turns counter-clockwise) or factor (new size divided by old); mirroring ignores it.
    """

    kind: str
    amount: float = 0.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={self.kind!r}")
        if self.kind == "scaling" and self.amount <= 0:
            raise ValueError(f"`amount` of a scaling must be positive. Received: amount={self.amount}")


def draw_view(rng: np.random.Generator | int) -> VolumeView:
    """Draws the kind, then the angle U(-30, 30) in degrees or the factor U(0.9, 1.1) rounded to two decimals."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "rotation":
        return VolumeView(kind, rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG))
    if kind == "scaling":
        return VolumeView(kind, round(rng.uniform(1 - MAX_SCALING, 1 + MAX_SCALING), 2))
    return VolumeView(kind)


def draw_two_views(rng: np.random.Generator | int) -> tuple[VolumeView, VolumeView]:
    """Draws two views. The second is drawn again until not both mirror, which would compare a thing with itself."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    first, second = draw_view(rng), draw_view(rng)
    while first.kind == second.kind == "mirror":
        second = draw_view(rng)
    return first, second


def _scaling_points(side: int, factor: float, *, inverse: bool) -> np.ndarray:
    """Returns the (side,) float64 position that each output pixel shows, as in `affine.scale` or the inverse."""
    new = round(factor * side)  # half to even
    first = (new - side) // 2 if new >= side else -((side - new) // 2)  # index in the new grid of output pixel 0
    pixel = np.arange(side, dtype=np.float64)
    if inverse:
        return (pixel + 0.5) * (new / side) - 0.5 - first
    return (pixel + first + 0.5) * (side / new) - 0.5


def _sampling(view: VolumeView, shape: tuple[int, int], *, inverse: bool) -> tuple[sparse.csr_array, np.ndarray]:
    """Returns the matrix (H * W, H * W) that samples a slice, and the weights (H * W, 1) that leave 0 outside."""
    if view.kind == "rotation":
        rows, columns = rotation_points(shape, -view.amount if inverse else view.amount)
        cover = inside(shape, rows, columns).astype(np.float32)
    else:
        axes = [_scaling_points(side, view.amount, inverse=inverse) for side in shape]
        # Between the last pixel and one further out the value fades to 0, as if the outside were zeros.
        fading = [
            np.clip(1 - np.maximum(-axis, axis - (side - 1)), 0, 1) for axis, side in zip(axes, shape, strict=True)
        ]
        cover = (fading[0][:, None] * fading[1]).astype(np.float32)
        rows, columns = (np.array(grid) for grid in np.broadcast_arrays(axes[0][:, None], axes[1]))
    return BilinearSampler(shape).operator(rows, columns), cover.reshape(-1, 1)


def _warped_slices(view: VolumeView, volume: np.ndarray, *, inverse: bool = False) -> Iterator[np.ndarray]:
    """Yields the slices of (Z, H, W) or (Z, H, W, C) after the view or its inverse."""
    if volume.ndim not in (3, 4):
        raise ValueError(f"`volume` must be (Z, H, W) or (Z, H, W, channels). Received: shape {volume.shape}")
    if view.kind == "mirror":
        yield from volume[:, :, ::-1]
        return
    operator, cover = _sampling(view, volume.shape[1:3], inverse=inverse)
    for picture in volume:
        sampled = operator @ np.ascontiguousarray(picture, np.float32).reshape(len(cover), -1)
        sampled *= cover
        yield sampled.reshape(picture.shape)


def _stacked(volume: np.ndarray, slices: Iterator[np.ndarray]) -> np.ndarray:
    out = np.empty(volume.shape, np.float32)
    for index, picture in enumerate(slices):
        out[index] = picture
    return out


def apply_view(view: VolumeView, volume: np.ndarray) -> np.ndarray:
    """Returns the view of a volume: linear interpolation, same size, 0 where the view looks outside.

    Args:
        view: The operation.
        volume: (Z, H, W) or (Z, H, W, channels), float; H and W at least 2. Only H and W are resampled.

    Returns:
        float32 of the same shape, a new array.

    Raises:
        ValueError: Another number of axes.
    """
    return _stacked(volume, _warped_slices(view, volume))


def undo_view(view: VolumeView, volume: np.ndarray) -> np.ndarray:
    """Brings the values of a view back to the pixels of the original; 0 where the view did not show them.

    Arguments and result are as for `apply_view`, on the grid of the view and of the original.
    """
    return _stacked(volume, _warped_slices(view, volume, inverse=True))


def undo_to_labels(view: VolumeView, probabilities: np.ndarray) -> np.ndarray:
    """Returns the most probable class at each pixel of the original; 0 where the view did not show it.

    The same as the arg-max of `undo_view`, slice by slice, so that the probabilities are not held twice.

    Args:
        view: The operation that led to the view.
        probabilities: (Z, H, W, K) float, on the grid of the view.

    Returns:
        (Z, H, W) uint8 up to 256 classes, int32 beyond.
    """
    labels = np.empty(probabilities.shape[:3], np.uint8 if probabilities.shape[3] <= 256 else np.int32)
    for index, picture in enumerate(_warped_slices(view, probabilities, inverse=True)):
        labels[index] = picture.argmax(axis=-1)
    return labels


def visible(view: VolumeView, shape: tuple[int, int]) -> np.ndarray:
    """Returns the mask of the pixels of the original that come back whole when the view is undone.

    It is bool of `shape` (H, W), False where one of the interpolated values lies outside the view or shows the outside.
    """
    ones = np.ones((1, *shape), np.float32)
    return undo_view(view, apply_view(view, ones))[0] > SEEN_ABOVE
