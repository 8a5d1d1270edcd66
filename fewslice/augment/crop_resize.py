"""Random crop and resize: the geometric change between two views of a slice in global pre-training.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511.

Notes:
    Differs from the published code in that the box size holds for both axes; there, the option changed the
    number of rows only and the number of columns was always 100.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewslice.augment.interpolate import mirrored_taps, separable_sample
from fewslice.core.errors import ConfigError

BOX_PX = 100
START_PX = (10, 70)
REFERENCE_SIDE_PX = 192
SMALLEST_PUBLISHED_SIDE_PX = 160


def crop_limits(side: int, *, box: int = BOX_PX) -> tuple[int, int, int]:
    """Returns (box, first start, last start + 1) in pixels along an axis of `side` pixels.

    The published numbers (box 100, starts 10 to 69) belong to sides of 160 and 192 pixels. For a smaller side
    all three are multiplied by side / 192, so that a view shows about the same part of the image: box 50 and
    starts 5 to 34 for 96 pixels, box 33 and starts 3 to 22 for 64.

    Args:
        side: Pixels along the axis.
        box: Size of the box in pixels of a 192-pixel side.

    Raises:
        ConfigError: The box or the range of starts does not fit.
    """
    low, high = START_PX
    note = ""
    if side < SMALLEST_PUBLISHED_SIDE_PX:
        note = ", scaled to the small image"
        box, low, high = (round(value * side / REFERENCE_SIDE_PX) for value in (box, low, high))
        high = max(high, low + 1)
    if box < 2 or high > side - 1:
        raise ConfigError(
            f"On a side of {side} px the crop must have a box of at least 2 px and a range of starts with "
            f"0 <= low < high <= {side - 1}. Received{note}: box={box}, start=({low}, {high})."
        )
    return box, low, high


def crop_and_resize(
    images: np.ndarray, first_rows: Sequence[int], first_columns: Sequence[int], *, box: tuple[int, int]
) -> np.ndarray:
    """Cuts one box out of each image and enlarges it linearly to the image's size.

    A box that reaches beyond the border is cut off there, so its zoom is larger.

    Args:
        images: (batch, H, W, C) float32.
        first_rows: (batch,) first row of each box.
        first_columns: (batch,) first column of each box.
        box: Rows and columns of the box in pixels.

    Returns:
        (batch, H, W, C) float32, a new array.
    """
    _, height, width, _ = images.shape
    out = np.empty_like(images)
    for index, (row, column) in enumerate(zip(first_rows, first_columns, strict=True)):
        window = images[index, row : row + box[0], column : column + box[1]]
        taps = mirrored_taps(window.shape[0], height), mirrored_taps(window.shape[1], width)
        for channel in range(images.shape[3]):
            out[index, :, :, channel] = separable_sample(window[..., channel], *taps)
    return out


def random_crop_and_resize(rng: np.random.Generator | int, images: np.ndarray, *, box: int = BOX_PX) -> np.ndarray:
    """Cuts a random box out of each image and enlarges it to the image's size.

    Args:
        rng: Draws the first rows of all images, then the first columns.
        images: (batch, H, W, C) float32.
        box: Size of the box along both axes, see `crop_limits`.

    Returns:
        (batch, H, W, C) float32.

    Raises:
        ConfigError: The box does not fit the images.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    sizes, starts = [], []
    for side in images.shape[1:3]:
        size, low, high = crop_limits(side, box=box)
        sizes.append(size)
        starts.append(rng.integers(low, high, size=len(images)))
    return crop_and_resize(images, *starts, box=tuple(sizes))
