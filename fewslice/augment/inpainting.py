"""Inpainting task: a box of each image is set to zero; a network learns to fill it.

Pathak et al., 2016, https://arxiv.org/abs/1604.07379.

Notes:
    Differs from the published code, which erased a box of 100 x 100 also where it had drawn another size, and
    changed its input in place.
"""

from __future__ import annotations

import numpy as np

from fewslice.augment.crop_resize import BOX_PX, REFERENCE_SIDE_PX, SMALLEST_PUBLISHED_SIDE_PX
from fewslice.core.registry import unknown_name

SIZES_PX = (30, 90)
MODES = ("random_place", "centre", "random_size")


def erase_boxes(images: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns a copy with one box per image set to 0; corners and sizes are (batch, 2) in pixels."""
    out = images.copy()
    for image, (top, left), (height, width) in zip(out, corners, sizes, strict=True):
        image[top : top + height, left : left + width] = 0
    return out


def random_box(rng: np.random.Generator, images: np.ndarray, *, mode: str = "random_place") -> np.ndarray:
    """Sets a box of each image to zero.

    Args:
        rng: Draws the sizes, then the places.
        images: (batch, H, W, C).
        mode: "random_place" and "centre" erase a box of 100 x 100 pixels, "random_size" one with sides of 30
            to 89 pixels at a random place. On sides below 160 pixels these numbers shrink by side / 192.

    Returns:
        Array like `images`.

    Raises:
        ValueError: Unknown mode.
    """
    if mode not in MODES:
        raise ValueError(unknown_name("inpainting mode", mode, MODES))
    sides = np.array(images.shape[1:3])
    shape = (len(images), 2)
    scale = np.where(sides < SMALLEST_PUBLISHED_SIDE_PX, sides / REFERENCE_SIDE_PX, 1.0)
    sizes = rng.integers(*SIZES_PX, size=shape) if mode == "random_size" else np.full(shape, BOX_PX)
    sizes = np.maximum(1, np.rint(sizes * scale)).astype(int)
    free = sides - sizes
    corners = free // 2 if mode == "centre" else rng.integers(0, free + 1, size=shape)
    return erase_boxes(images, corners, sizes)
