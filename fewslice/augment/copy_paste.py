"""Bidirectional copy-paste: labelled and unlabelled images are pasted into each other, and so are their labels.

Bai et al., 2023, https://arxiv.org/abs/2305.00673. A box of 2/3 of each side at a random place is cut from one image
and pasted into another. For half of the pairs the box is labelled and the rest is not, for the other half the reverse;
the loss counts pixels of unlabelled origin, whose labels are the teacher's, by alpha = 0.5.

Notes:
    Differs from the published code in that every image has its own box, where there was one for the whole batch
    (`shared=True` gives that), and in that the box can also touch the last row and column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fewslice.augment.cutmix import box_masks, mix
from fewslice.core.errors import ConfigError

BOX_RATIO = 2 / 3
UNLABELLED_WEIGHT = 0.5


class MixedBatch(NamedTuple):
    """Images, labels and the weight of each pixel in the loss.

    Attributes:
        images: (batch, H, W, 1) float32.
        labels: (batch, H, W) integer or (batch, H, W, K) float32, as they came.
        weights: (batch, H, W) float32: 1 where labelled, alpha where pseudo-labelled.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def copy_paste_boxes(
    rng: np.random.Generator, batch: int, height: int, width: int, *, ratio: float = BOX_RATIO, shared: bool = False
) -> np.ndarray:
    """Draws the box of each image, uniformly from all places where it fits.

    Args:
        rng: Draws all first rows, then all first columns.
        batch: Number of images.
        height: Rows of an image in pixels.
        width: Columns of an image in pixels.
        ratio: Side of the box divided by that of the image, in (0, 1).
        shared: Draws one place for all images.

    Returns:
        (batch, height, width) bool, True inside the box.

    Raises:
        ConfigError: `ratio` out of range.
    """
    if not 0 < ratio < 1:
        raise ConfigError(f"`ratio` must lie between 0 and 1. Received: ratio={ratio}")
    sizes = [max(1, round(ratio * side)) for side in (height, width)]
    first = [
        np.broadcast_to(rng.integers(side - size + 1, size=1 if shared else batch), (batch,))
        for side, size in zip((height, width), sizes, strict=True)
    ]
    return box_masks(tuple(first), tuple(np.full(batch, size) for size in sizes), (height, width))


def copy_paste(
    labelled: tuple[np.ndarray, np.ndarray],
    unlabelled: tuple[np.ndarray, np.ndarray],
    *,
    boxes: np.ndarray,
    alpha: float = UNLABELLED_WEIGHT,
) -> MixedBatch:
    """Mixes row by row a labelled and an unlabelled image.

    The first half of the rows (batch // 2) shows the labelled image inside the box and the unlabelled one around it,
    the other half the reverse. So each image is used once, as in the paper.

    Args:
        labelled: Images (batch, H, W, 1) and labels (batch, H, W) integer or (batch, H, W, K) one-hot.
        unlabelled: Images and pseudo-labels of the same shapes and dtypes.
        boxes: (batch, H, W) bool.
        alpha: Weight of a pixel of an unlabelled image, in [0, 1].

    Returns:
        The mixed batch, new arrays, `batch` rows.

    Raises:
        ConfigError: `alpha` out of range.
        ValueError: Shapes or dtypes do not belong together.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"`alpha` must lie in [0, 1]. Received: alpha={alpha}")
    has_unlabelled_box = np.arange(len(boxes)) >= len(boxes) // 2
    is_unlabelled = boxes == has_unlabelled_box[:, None, None]
    images, labels = (mix(known, guess, is_unlabelled) for known, guess in zip(labelled, unlabelled, strict=True))
    return MixedBatch(images, labels, np.where(is_unlabelled, np.float32(alpha), np.float32(1)))
