"""Bidirectional copy-paste: labelled and unlabelled images are pasted into each other, and so are their labels.

Bai et al., 2023, https://arxiv.org/abs/2305.00673. A box of 2/3 of each side at a random place is cut from one image
and pasted into another. For half of the pairs the box is labelled and the rest is not, for the other half the reverse.

Notes:
    Differs from the published code in that every image has its own box, where there was one for the whole batch, and in
    that the box can also touch the last row and column.
"""

from __future__ import annotations

import numpy as np

from fewslice.augment.cutmix import box_masks, mix

BOX_RATIO = 2 / 3


def copy_paste_boxes(rng: np.random.Generator | int, shape: tuple[int, int, int]) -> np.ndarray:
    """Draws the box of each image, uniformly from all places where it fits.

    Args:
        rng: Draws all first rows, then all first columns.
        shape: (batch, H, W).

    Returns:
        (batch, H, W) bool, True inside the box.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    batch, *sides = shape
    sizes = [max(1, round(BOX_RATIO * side)) for side in sides]
    first = [rng.integers(side - size + 1, size=batch) for side, size in zip(sides, sizes, strict=True)]
    return box_masks(tuple(first), tuple(np.full(batch, size) for size in sizes), tuple(sides))


def copy_paste(
    labelled: tuple[np.ndarray, np.ndarray], unlabelled: tuple[np.ndarray, np.ndarray], *, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixes row by row a labelled and an unlabelled image.

    The first half of the rows (batch // 2) shows the labelled image inside the box and the unlabelled one around it,
    the other half the reverse. So each image is used once, as in the paper.

    Args:
        labelled: Images (batch, H, W, 1) and labels (batch, H, W) integer or (batch, H, W, K) one-hot.
        unlabelled: Images and pseudo-labels of the same shapes and dtypes.
        boxes: (batch, H, W) bool.

    Returns:
        The mixed images and labels, and (batch, H, W) bool: which pixels are of the unlabelled image. New arrays.

    Raises:
        ValueError: Shapes or dtypes do not belong together.
    """
    has_unlabelled_box = np.arange(len(boxes)) >= len(boxes) // 2
    is_unlabelled = boxes == has_unlabelled_box[:, None, None]
    images, labels = (mix(known, guess, is_unlabelled) for known, guess in zip(labelled, unlabelled, strict=True))
    return images, labels, is_unlabelled
