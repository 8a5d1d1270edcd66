"""Random affine changes of a slice and its label: rotation, scaling, mirroring.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511. Per image one of five operations with equal
probability: rotation by -15 to 15 degrees, scaling by 0.95 to 1.05, mirroring (every second time), rotation
by a multiple of 45 degrees, nothing. Images are interpolated linearly, labels keep their values (nearest
neighbour).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from scipy import special

from fewslice.augment.interpolate import BilinearSampler, LinearTaps, inside, nearest_at, read_only, separable_sample

MAX_ROTATION_DEG = 15.0
MAX_SCALING = 0.05
BLANK_BELOW = 0.001


def rotation_points(shape: tuple[int, int], degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row and column, (H, W) float64 each, that every pixel of an image rotated about its centre shows.

    `shape` is (H, W); for the angle see `rotate`.
    """
    height, width = shape
    cos, sin = float(special.cosdg(degrees)), float(special.sindg(degrees))  # exact at multiples of 90
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    down, across = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)
    # In float64: a float32 coordinate is off by 1e-5 px, and labels would flip at ties. The order of the sums
    # is SciPy's, for the same ties.
    rows = (middle_row - (cos * middle_row + sin * middle_column) + cos * down) + sin * across
    columns = (middle_column - (-sin * middle_row + cos * middle_column) - sin * down) + cos * across
    return rows, columns


def rotate(
    image: np.ndarray, label: np.ndarray, degrees: float, *, sampler: BilinearSampler | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rotates about the centre and keeps the size. What comes from outside the image is 0.

    Args:
        image: (H, W) float32, interpolated linearly.
        label: (H, W) integer, nearest neighbour.
        degrees: Angle. Output offset (dy, dx) from the centre looks at (cos dy + sin dx, -sin dy + cos dx).
        sampler: Scratch memory for images of this size, to be used again.

    Returns:
        The rotated (H, W) float32 image and (H, W) label, new arrays.
    """
    rows, columns = rotation_points(image.shape, degrees)
    is_inside = inside(image.shape, rows, columns)
    rotated_label = nearest_at(label, rows, columns)
    rotated_label *= is_inside
    sampler = sampler or BilinearSampler(image.shape)
    rotated = (sampler.operator(rows, columns) @ image.reshape(-1)).reshape(image.shape)
    rotated *= is_inside
    return rotated, rotated_label


@lru_cache(maxsize=512)
def _scale_taps(side: int, scale: float) -> tuple[slice, LinearTaps, np.ndarray]:
    """Returns for one axis: the covered part of the output, its linear taps, its nearest source index."""
    new = round(scale * side)  # half to even
    before = max((side - new) // 2, 0)
    first = max((new - side) // 2, 0)
    kept = min(new, side)
    position = (np.arange(first, first + kept) + 0.5) * (side / new) - 0.5
    low = np.floor(position).astype(np.intp)
    fraction = position - low
    # Pixels -1 and `side` are 0: their weight is dropped, not given to the neighbour.
    weight_low = np.where(low >= 0, 1 - fraction, 0).astype(np.float32)
    weight_high = np.where(low + 1 < side, fraction, 0).astype(np.float32)
    low, high = np.clip(low, 0, side - 1), np.clip(low + 1, 0, side - 1)
    nearest = np.clip(np.ceil(position - 0.5), 0, side - 1).astype(np.intp)
    *taps, nearest = read_only(low, high, weight_low, weight_high, nearest)
    return slice(before, before + kept), LinearTaps(*taps), nearest


def scale(image: np.ndarray, label: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Scales about the centre and keeps the size: a larger result is cropped, a smaller one padded with 0.

    Args:
        image: (H, W) float32, interpolated linearly, clipped to its own range.
        label: (H, W) integer, nearest neighbour, the lower one at ties.
        factor: New size divided by old size, positive.

    Returns:
        The scaled (H, W) float32 image and (H, W) label, new arrays.
    """
    height, width = image.shape
    rows, row_taps, row_nearest = _scale_taps(height, float(factor))
    columns, column_taps, column_nearest = _scale_taps(width, float(factor))
    inner = separable_sample(image, row_taps, column_taps)
    np.clip(inner, image.min(), image.max(), out=inner)
    scaled, scaled_label = np.zeros_like(image), np.zeros_like(label)
    scaled[rows, columns] = inner
    nearest = np.take(label, row_nearest, axis=0, mode="clip")
    scaled_label[rows, columns] = np.take(nearest, column_nearest, axis=1, mode="clip")
    return scaled, scaled_label


def mirror(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors the columns (left-right) of (H, W) arrays."""
    return image[:, ::-1], label[:, ::-1]


def _random_operation(rng: np.random.Generator, *, is_blank: bool, sampler: BilinearSampler) -> Callable:
    """Returns the function (image, label), both (H, W) -> both changed."""
    operation = rng.integers(5)
    if is_blank:
        return _keep
    if operation == 0:
        return partial(rotate, degrees=rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG), sampler=sampler)
    if operation == 1:
        return partial(scale, factor=round(rng.uniform(1 - MAX_SCALING, 1 + MAX_SCALING), 2))
    if operation == 2:
        return mirror if rng.integers(2) == 0 else _keep
    if operation == 3:
        return partial(rotate, degrees=45 * int(rng.integers(8)), sampler=sampler)
    return _keep


def _keep(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, label


def random_affine(
    rng: np.random.Generator | int, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Applies to each image and its label one of the five operations named above.

    Blank images stay as they are.

    Args:
        rng: Draws for each image in turn the operation, then its parameter.
        images: (batch, H, W, C) float32; the channels of an image change alike.
        labels: (batch, H, W) integer classes.

    Returns:
        (batch, H, W, C) float32 and (batch, H, W) of the labels' dtype, new arrays.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    out_images, out_labels = np.empty_like(images), np.empty_like(labels)
    sampler = BilinearSampler(images.shape[1:3])
    for index in range(len(images)):
        change = _random_operation(rng, is_blank=images[index].max() <= BLANK_BELOW, sampler=sampler)
        for channel in range(images.shape[3]):
            out_images[index, :, :, channel], out_labels[index] = change(images[index, :, :, channel], labels[index])
    return out_images, out_labels
