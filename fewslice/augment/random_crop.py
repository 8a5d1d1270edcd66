"""Crops for networks that learn from parts of large images: quarter turns, a random window, mirroring.

Every transform keeps pixels as they are. What comes from outside of the image is 0, and its label the one that says
that nothing is known.
"""

from __future__ import annotations

import numpy as np


def turn_in_place(array: np.ndarray, quarter_turns: int, *, fill: float = 0) -> np.ndarray:
    """Turns an image counter-clockwise by quarters about its centre, on a canvas of unchanged size.

    Where it is not square, odd turns lose what does not fit and leave a margin. Equal to PIL's `Image.rotate`, also
    where the centre lies between two pixels.

    Args:
        array: (H, W, ...).
        fill: Value of the margin.

    Returns:
        (H, W, ...) of the same dtype, maybe a view.
    """
    turned, (height, width) = np.rot90(array, quarter_turns), array.shape[:2]
    if turned.shape[:2] == (height, width):
        return turned
    shift = (width - height) // 2 if quarter_turns % 4 == 1 else -((height - width) // 2)
    placed = np.full_like(array, fill)
    rows = slice(max(0, -shift), min(height, width - shift))
    columns = slice(max(0, shift), min(width, height + shift))
    placed[rows, columns] = turned[rows.start + shift : rows.stop + shift, columns.start - shift : columns.stop - shift]
    return placed


def random_crop(
    rng: np.random.Generator | int, image: np.ndarray, label: np.ndarray, *, size: int, label_fill: int
) -> tuple[np.ndarray, np.ndarray]:
    """Turns by 0 to 3 quarters, cuts out a window, and mirrors left and right every second time.

    Args:
        rng: Draws the turns, the first row and column of the window, the mirroring.
        image: (H, W, C).
        label: (H, W) integers.
        size: Rows and columns of the window; a smaller image is filled up at its end.
        label_fill: Label of what comes from outside.

    Returns:
        (size, size, C) and (size, size), new arrays of the same dtypes.

    Notes:
        The published code labels the margin of a turned image as background.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    turns = int(rng.integers(4))
    first = [int(rng.integers(max(0, side - size) + 1)) for side in label.shape]
    step = -1 if rng.random() < 0.5 else 1
    window = tuple(slice(start, start + size) for start in first)
    views = []
    for array, fill in ((image, 0), (label, label_fill)):
        cut = turn_in_place(array, turns, fill=fill)[window]
        view = np.full((size, size, *array.shape[2:]), fill, array.dtype)
        view[: cut.shape[0], : cut.shape[1]] = cut
        views.append(np.ascontiguousarray(view[:, ::step]))
    return views[0], views[1]
