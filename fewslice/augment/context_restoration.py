"""Context restoration: random patches of an image swap places; a network learns to undo it.

Chen et al., 2019, https://arxiv.org/abs/1906.10500 (self-supervised learning by context restoration).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Corners = tuple[int, int]


def choose_swaps(
    draw: Callable[[], tuple[Corners, Corners]], *, patch: int, count: int
) -> list[tuple[Corners, Corners]]:
    """Draws pairs of patches until `count` pairs do not overlap, at most 10 * count times.

    Args:
        draw: Returns two rows and two columns: the upper left corners (rows[0], columns[0]) and (rows[1],
            columns[1]).
        patch: Side of the patches in pixels.
        count: Pairs wanted.

    Returns:
        Accepted (rows, columns), possibly fewer than `count`.
    """
    swaps: list[tuple[Corners, Corners]] = []
    for _ in range(10 * count):
        if len(swaps) == count:
            break
        rows, columns = draw()
        if abs(rows[0] - rows[1]) >= patch or abs(columns[0] - columns[1]) >= patch:
            swaps.append((rows, columns))
    return swaps


def swap_patches(image: np.ndarray, swaps: list[tuple[Corners, Corners]], *, patch: int) -> np.ndarray:
    """Swaps pairs of patches.

    All are read from the unchanged image, so a later pair may write over an earlier one.

    Args:
        image: (H, W, channels).
        swaps: Pairs as `choose_swaps` returns them.
        patch: Side of the patches in pixels.

    Returns:
        (H, W, channels), a new array.
    """
    out = image.copy()
    for rows, columns in swaps:
        first, second = (
            (slice(row, row + patch), slice(column, column + patch)) for row, column in zip(rows, columns, strict=True)
        )
        out[first] = image[second]
        out[second] = image[first]
    return out


def random_context_restoration(
    rng: np.random.Generator, images: np.ndarray, *, patch: int = 5, count: int = 10
) -> np.ndarray:
    """Swaps `count` random pairs of patches in each image.

    Args:
        rng: Draws image by image, for each attempt two rows, then two columns, from `patch` to side - patch -
            1.
        images: (batch, H, W, channels).
        patch: Side of the patches in pixels.
        count: Pairs per image.

    Returns:
        Array like `images`; the input is the target to restore.

    Raises:
        ValueError: Images too small for the patch.
    """
    _, height, width, _ = images.shape
    if min(height, width) <= 2 * patch:
        raise ValueError(f"Images must be larger than 2 * patch. Received: {height} x {width}, patch={patch}")

    def draw() -> tuple[Corners, Corners]:
        rows = rng.integers(patch, height - patch, size=2)
        columns = rng.integers(patch, width - patch, size=2)
        return (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))

    return np.stack(
        [swap_patches(image, choose_swaps(draw, patch=patch, count=count), patch=patch) for image in images]
    )
