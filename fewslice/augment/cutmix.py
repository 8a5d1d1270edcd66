"""CutMix for consistency training: a random box of each image is replaced by that of another one.

Yang et al., 2023, UniMatch, https://arxiv.org/abs/2208.09910; French et al., 2020, https://arxiv.org/abs/1906.01916;
Yun et al., 2019, https://arxiv.org/abs/1905.04899. Images, pseudo-labels and their confidences are mixed with the same
mask:

    boxes = cutmix_boxes(rng, images.shape[:3])
    mixed, mixed_labels = (mix(x, np.roll(x, 1, axis=0), boxes) for x in (images, pseudo_labels))

Notes:
    Differs from the published code in how a box that does not fit is avoided: there, shape and corner were drawn again
    until it did, which favours compact boxes away from the border. Here the shape is drawn from those that fit, then
    the place uniformly from all that exist. The partner comes from the same batch, above the image before.
"""

from __future__ import annotations

import numpy as np

PROBABILITY = 0.5  # that an image has a box at all
AREA = (0.02, 0.4)  # share of the image that the box covers, before rounding to pixels
ASPECT = (0.3, 1 / 0.3)  # (rows / height) / (columns / width)


def box_masks(
    first: tuple[np.ndarray, np.ndarray], size: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]
) -> np.ndarray:
    """Returns (batch, H, W) bool, True inside one box per image.

    Args:
        first: First row and first column of the boxes, (batch,) integer each.
        size: Their numbers of rows and columns, (batch,) integer each; 0 gives an empty mask.
        shape: (H, W).
    """
    inside = []
    for start, count, side in zip(first, size, shape, strict=True):
        index = np.arange(side)
        inside.append((index >= start[:, None]) & (index < (start + count)[:, None]))  # (batch, side)
    return inside[0][:, :, None] & inside[1][:, None, :]


def cutmix_boxes(rng: np.random.Generator | int, shape: tuple[int, int, int]) -> np.ndarray:
    """Draws one box for each image, area and aspect uniformly.

    Args:
        rng: Draws for all images: the coins, the areas, the shapes, the first rows, the first columns.
        shape: (batch, H, W).

    Returns:
        (batch, H, W) bool, True inside the box, all False for images without one.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    batch, height, width = shape
    coin, *uniform = rng.random((5, batch))
    share = AREA[0] + (AREA[1] - AREA[0]) * uniform[0]
    low, high = np.maximum(ASPECT[0], share), np.minimum(ASPECT[1], 1 / share)  # so that neither side exceeds 1
    ratio = low + (high - low) * uniform[1]
    first, size = [], []
    for side, relative, place in (
        (height, np.sqrt(share * ratio), uniform[2]),
        (width, np.sqrt(share / ratio), uniform[3]),
    ):
        count = np.clip(np.rint(side * relative), 1, side).astype(np.intp)
        first.append((place * (side - count + 1)).astype(np.intp))
        size.append(np.where(coin < PROBABILITY, count, 0))
    return box_masks(tuple(first), tuple(size), (height, width))


def mix(x: np.ndarray, partner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns `partner` where the mask is True and `x` elsewhere.

    Args:
        x: (batch, H, W) or (batch, H, W, channels), any dtype: images, labels, one-hot labels, confidences.
        partner: The same shape and dtype.
        mask: (batch, H, W) bool.

    Returns:
        A new array like `x`.

    Raises:
        ValueError: Shapes or dtypes do not belong together.
    """
    if x.shape != partner.shape or x.dtype != partner.dtype or mask.shape != x.shape[:3] or mask.dtype != bool:
        raise ValueError(
            "`x` and `partner` must have one shape and dtype, `mask` must be bool of their first three axes. "
            f"Received: x {x.shape} {x.dtype}, partner {partner.shape} {partner.dtype}, mask {mask.shape} {mask.dtype}"
        )
    return np.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 3)), partner, x)
