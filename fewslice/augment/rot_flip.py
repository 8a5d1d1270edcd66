"""Quarter turns with mirroring, or a small rotation: the augmentation of active learning's segmentation training.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763, after Luo et al., 2022, https://arxiv.org/abs/2203.02106. For each
image and its annotation: with some probability a random quarter turn and then always mirroring along one of the two
axes; else with some probability a rotation by a whole number of degrees. Nothing is interpolated: images too take the
nearest pixel.

Notes:
    The published code does this on slices of their own sizes and then makes them square; here slices already have one
    size. One that is not square is brought back to its shape after an odd number of quarter turns, by the nearest pixel
    with the corners staying in the corners, which is how the published code resizes.
"""

from __future__ import annotations

import numpy as np

from fewslice.augment.affine import rotation_points
from fewslice.augment.interpolate import inside, nearest_at, resize_nearest

TURN_PROBABILITY = 0.5  # of a quarter turn (0 to 3, equally likely) and mirroring
ROTATE_PROBABILITY = 0.5  # of a rotation where there was none
MAX_DEGREES = 20  # the angle is a whole number of [-MAX_DEGREES, MAX_DEGREES)


def turn_and_mirror(array: np.ndarray, quarter_turns: int, axis: int) -> np.ndarray:
    """Turns (H, W, ...) counter-clockwise by quarters, then reverses an axis (0 or 1). Returns a view."""
    return np.flip(np.rot90(array, quarter_turns), axis)


def rotate_nearest(array: np.ndarray, degrees: float, *, fill: float = 0) -> np.ndarray:
    """Rotates (H, W, ...) about its centre and keeps the size; every pixel takes the nearest one.

    Args:
        array: (H, W) or (H, W, C), any dtype.
        degrees: Angle, as in `fewslice.augment.affine.rotate`.
        fill: What comes from outside.

    Returns:
        A new array of the same shape and dtype.
    """
    rows, columns = rotation_points(array.shape[:2], degrees)
    rotated = nearest_at(array, rows, columns)
    rotated[~inside(array.shape[:2], rows, columns)] = fill
    return rotated


def rot_flip(
    rng: np.random.Generator | int, images: np.ndarray, labels: np.ndarray, *, label_fill: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Turns and mirrors, or rotates, each image and its annotation.

    Args:
        rng: Draws for all rows whether to turn, whether to rotate, the turns, the axes, the angles.
        images: (B, H, W, C) float32.
        labels: (B, H, W) integers.
        label_fill: Label of what comes from outside: the ignore value of scribbles, 0 for masks.

    Returns:
        New arrays of the same shapes and dtypes. Images are filled with 0.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    count, shape = len(images), images.shape[1:3]
    turns_it, rotates_it = rng.random(count) < TURN_PROBABILITY, rng.random(count) < ROTATE_PROBABILITY
    turns, axes = rng.integers(4, size=count), rng.integers(2, size=count)
    degrees = rng.integers(-MAX_DEGREES, MAX_DEGREES, size=count)
    out_images, out_labels = images.copy(), labels.copy()
    for row in range(count):
        for array, out, fill in ((images[row], out_images, 0), (labels[row], out_labels, label_fill)):
            if turns_it[row]:
                turned = turn_and_mirror(array, int(turns[row]), int(axes[row]))
                out[row] = turned if turned.shape[:2] == shape else resize_nearest(turned, shape)
            elif rotates_it[row]:
                out[row] = rotate_nearest(array, float(degrees[row]), fill=fill)
    return out_images, out_labels
