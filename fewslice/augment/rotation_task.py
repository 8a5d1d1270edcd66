"""Rotation task: images turned by multiples of 90 degrees, the label says by how many.

Gidaris et al., 2018, https://arxiv.org/abs/1803.07728.
"""

from __future__ import annotations

import numpy as np


def rotation_task(images: np.ndarray, *, rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns every image turned counter-clockwise by 0, 90, 180 and 270 degrees.

    Args:
        images: (batch, side, side, channels).
        rows: Rows of the result, at most 4 * batch (the default).

    Returns:
        (rows, side, side, channels) of the images' dtype; row r shows image r // 4 turned (r mod 4) times.
        (rows,) int32, r mod 4.

    Raises:
        ValueError: Images that are not square, or too many rows.
    """
    rows = 4 * len(images) if rows is None else rows
    if images.shape[1] != images.shape[2] or not 0 <= rows <= 4 * len(images):
        raise ValueError(
            "`images` must be (batch, side, side, channels) and `rows` at most 4 * batch. "
            f"Received: images {images.shape}, rows={rows}"
        )
    out = np.empty((rows, *images.shape[1:]), images.dtype)
    for row in range(rows):
        out[row] = np.rot90(images[row // 4], row % 4)
    return out, np.arange(rows, dtype=np.int32) % 4
