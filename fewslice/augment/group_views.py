"""Views of a slice for group contrastive training: crop, mirror, affine, blur, erased box.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763. In this order, for every image by itself: a random box enlarged to
the size of the image, mirroring of the columns, an affine change (nearest neighbour, 0 outside), a Gaussian blur of
5 x 5 pixels, with some probability an erased box. Intensities are not changed otherwise.

Drawing (`draw_views`) and applying (`apply_views`) are separate; the pieces follow torchvision's conventions.

Notes:
    A box is enlarged, never made smaller, so whether shrinking smooths before it samples (torchvision does by now, and
    did not in the version of the published code) makes no difference.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fewslice.augment.interpolate import LinearTaps, read_only, separable_sample
from fewslice.augment.strong_intensity import gaussian_blur

CROP_AREA = (0.8, 1.0)  # fraction of the image
CROP_ASPECT = (3 / 4, 4 / 3)  # width / height, uniform in the logarithm
MIRROR_PROBABILITY = 0.5
MAX_ROTATION_DEG = 15.0
MAX_TRANSLATION = 0.2  # fraction of each side
SCALING = (0.8, 1.2)
MAX_SHEAR_DEG = 10.0  # along the rows
BLUR_PX = (0.1, 2.0)  # standard deviation
BLUR_RADIUS = 2
ERASE_PROBABILITY = 0.2
ERASE_AREA = (0.02, 0.33)
ERASE_ASPECT = (1 / 3.3, 1 / 0.3)  # width / height, uniform in the logarithm
TRIES = 10  # boxes drawn before the next best is taken


class GroupViewDraws(NamedTuple):
    """Random draws for each of `batch` images.

    Attributes:
        crops: (batch, 4) int64 first row, first column, rows, columns of the box that is enlarged.
        mirrored: (batch,) bool.
        degrees: (batch,) rotation, clockwise on the screen.
        shifts: (batch, 2) int64 pixels to the right, pixels down.
        scales: (batch,) factors.
        shears: (batch,) degrees along the rows.
        sigmas: (batch,) standard deviations of the blur in pixels.
        erased: (batch, 4) int64 box as in `crops`; no rows for none.
    """

    crops: np.ndarray
    mirrored: np.ndarray
    degrees: np.ndarray
    shifts: np.ndarray
    scales: np.ndarray
    shears: np.ndarray
    sigmas: np.ndarray
    erased: np.ndarray


def draw_views(rng: np.random.Generator | int, batch: int, shape: tuple[int, int]) -> GroupViewDraws:
    """Draws the changes of `batch` images of `shape` (H, W), each kind for all images at once."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    height, width = shape
    crops, is_valid = _draw_boxes(rng, batch, shape, CROP_AREA, CROP_ASPECT, largest=0)
    crops[~is_valid] = _central_box(shape, CROP_ASPECT)
    mirrored = rng.random(batch) < MIRROR_PROBABILITY
    degrees = rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG, batch)
    limits = MAX_TRANSLATION * np.array([width, height])
    shifts = np.rint(rng.uniform(-limits, limits, (batch, 2))).astype(np.int64)
    scales = rng.uniform(*SCALING, batch)
    shears = rng.uniform(-MAX_SHEAR_DEG, MAX_SHEAR_DEG, batch)
    sigmas = rng.uniform(*BLUR_PX, batch)
    erases = rng.random(batch) < ERASE_PROBABILITY
    erased, is_valid = _draw_boxes(rng, batch, shape, ERASE_AREA, ERASE_ASPECT, largest=-1)
    erased[~(erases & is_valid)] = 0
    return GroupViewDraws(crops, mirrored, degrees, shifts, scales, shears, sigmas, erased)


def _draw_boxes(
    rng: np.random.Generator,
    batch: int,
    shape: tuple[int, int],
    area: tuple[float, float],
    aspect: tuple[float, float],
    *,
    largest: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws boxes by area and width / height until they fit, at most `TRIES` times.

    Returns:
        (batch, 4) int64 first row, first column, rows, columns, and (batch,) whether one fits: at least 1 and
        at most side + `largest` pixels each way.
    """
    height, width = shape
    areas = rng.uniform(*area, (batch, TRIES)) * (height * width)
    aspects = np.exp(rng.uniform(*np.log(aspect), (batch, TRIES)))
    rows, columns = np.rint(np.sqrt(areas / aspects)), np.rint(np.sqrt(areas * aspects))
    fits = (rows >= 1) & (rows <= height + largest) & (columns >= 1) & (columns <= width + largest)
    tried = np.arange(batch), fits.argmax(axis=1)
    is_valid = fits[tried]
    rows, columns = np.where(is_valid, rows[tried], 1), np.where(is_valid, columns[tried], 1)
    top, left = np.floor(rng.random((2, batch)) * [height - rows + 1, width - columns + 1])
    return np.stack([top, left, rows, columns], axis=-1).astype(np.int64), is_valid


def _central_box(shape: tuple[int, int], aspect: tuple[float, float]) -> tuple[int, int, int, int]:
    """Returns the largest box in the middle of the image whose width / height is allowed."""
    height, width = shape
    rows, columns = height, width
    if width < aspect[0] * height:
        rows = max(1, min(height, round(width / aspect[0])))
    elif width > aspect[1] * height:
        columns = max(1, min(width, round(height * aspect[1])))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


@lru_cache(maxsize=1024)
def _clamped_taps(n_in: int, n_out: int) -> LinearTaps:
    """Returns the taps of a linear resize with half-pixel centres; positions outside move to the edge."""
    position = np.clip((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0, n_in - 1)
    low = position.astype(np.intp)
    fraction = (position - low).astype(np.float32)
    return LinearTaps(*read_only(low, np.minimum(low + 1, n_in - 1), 1 - fraction, fraction))


def resized_crop(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Enlarges a box (first row, first column, rows, columns) of (H, W, C) float32 linearly to (H, W, C)."""
    height, width, channels = image.shape
    top, left, rows, columns = box
    taps = _clamped_taps(int(rows), height), _clamped_taps(int(columns), width)
    out = np.empty_like(image)
    for channel in range(channels):
        out[..., channel] = separable_sample(image[top : top + rows, left : left + columns, channel], *taps)
    return out


def affine_nearest(image: np.ndarray, *, degrees: float, shift: tuple[float, float], scale: float, shear: float):
    """Shears, scales, turns and shifts an image about its centre; nearest neighbour, 0 outside.

    A point at offset p = (right, down) from the centre moves to scale R S p + shift, R the rotation by `degrees`
    clockwise on the screen, S = [[1, -tan shear], [0, 1]].

    Args:
        image: (H, W, C) float32.
        degrees: Angle.
        shift: Pixels to the right, pixels down.
        scale: Positive factor.
        shear: Degrees.

    Returns:
        (H, W, C) float32, a new array.
    """
    height, width, channels = image.shape
    angle, slope = math.radians(degrees), math.tan(math.radians(shear))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    back = np.linalg.inv(scale * turn @ np.array([[1.0, -slope], [0.0, 1.0]]))
    right = np.arange(width) - (width - 1) / 2 - shift[0]
    down = np.arange(height) - (height - 1) / 2 - shift[1]
    columns = np.add.outer(back[0, 1] * down, back[0, 0] * right + (width - 1) / 2).astype(np.float32)
    rows = np.add.outer(back[1, 1] * down + (height - 1) / 2, back[1, 0] * right).astype(np.float32)
    np.rint(columns, out=columns)  # half to even
    np.rint(rows, out=rows)
    is_inside = (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    rows *= width
    rows += columns
    source = np.where(is_inside, rows, 0).astype(np.intp)
    out = np.take(image.reshape(-1, channels), source, axis=0, mode="clip")
    out *= is_inside[..., None]
    return out


def blur(images: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Blurs with a Gaussian cut to 5 x 5 pixels; outside, the image is mirrored without repeating its edge.

    Args:
        images: (batch, H, W, C) float32, sides at least 3.
        sigmas: (batch,) standard deviations in pixels, positive.

    Returns:
        (batch, H, W, C) float32, a new array.
    """
    out = np.empty_like(images)
    for index, (image, sigma) in enumerate(zip(images, sigmas, strict=True)):
        out[index] = gaussian_blur(image, sigma, radius=BLUR_RADIUS, mode="reflect")
    return out


def apply_views(images: np.ndarray, draws: GroupViewDraws) -> np.ndarray:
    """Makes the views of (batch, H, W, C) float32 images that were drawn; a new array."""
    out = np.empty_like(images)
    for index, image in enumerate(images):
        cropped = resized_crop(image, tuple(draws.crops[index]))
        out[index] = affine_nearest(
            cropped[:, ::-1] if draws.mirrored[index] else cropped,
            degrees=draws.degrees[index],
            shift=tuple(draws.shifts[index]),
            scale=draws.scales[index],
            shear=draws.shears[index],
        )
    out = blur(out, draws.sigmas)
    for image, (top, left, rows, columns) in zip(out, draws.erased, strict=True):
        image[top : top + rows, left : left + columns] = 0
    return out


def group_view(rng: np.random.Generator | int, images: np.ndarray) -> np.ndarray:
    """Makes a random view of each image, (batch, H, W, C) with sides of at least 3 pixels: a new float32 array."""
    images = np.asarray(images, np.float32)
    return apply_views(images, draw_views(rng, len(images), images.shape[1:3]))
