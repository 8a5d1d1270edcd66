"""Random brightness, contrast, saturation and hue of a colour image, in random order.

The definitions are those of torchvision's `ColorJitter` and PIL's `ImageEnhance`: the image is mixed with black, with
its mean luminance, or with its luminance, and clipped to [0, 1]; the hue is turned in HSV.

Notes:
    Published training does this to 8-bit images and rounds after each change; here nothing is rounded.
"""

from __future__ import annotations

import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_SECTORS = (5, 3, 1)  # where red, green and blue begin to fall, in sixths of the circle of hues


def luminance(image: np.ndarray) -> np.ndarray:
    """Returns (H, W, 1) the luminance of (H, W, 3) float32; of other numbers of channels their mean."""
    if image.shape[-1] != 3:
        return image.mean(axis=-1, keepdims=True, dtype=np.float32)
    return (image @ np.array(LUMINANCE, np.float32))[..., None]


def adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies (H, W, C) float32 by a factor and clips to [0, 1]."""
    return np.clip(image * np.float32(factor), 0, 1)


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the difference of (H, W, C) float32 to its mean luminance and clips to [0, 1]."""
    return np.clip(image * np.float32(factor) + np.float32(1 - factor) * luminance(image).mean(), 0, 1)


def adjust_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the difference of each pixel of (H, W, 3) float32 to its luminance and clips to [0, 1]."""
    if image.shape[-1] != 3:
        return image
    return np.clip(image * np.float32(factor) + np.float32(1 - factor) * luminance(image), 0, 1)


def adjust_hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turns the hue of (H, W, 3) float32 by a share of the circle, and keeps value and saturation of HSV."""
    if image.shape[-1] != 3:
        return image
    red, green, blue = np.moveaxis(image, -1, 0)
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    per = 1 / np.where(chroma > 0, chroma, np.float32(1))
    hue = np.where(value == green, 2 + (blue - red) * per, 4 + (red - green) * per)
    hue = np.where(value == red, (green - blue) * per, hue) + np.float32(6 * shift)  # in sixths of the circle
    result = np.empty_like(image)
    for channel, sector in enumerate(_SECTORS):
        place = (hue + sector) % 6
        result[..., channel] = value - chroma * np.clip(np.minimum(place, 4 - place), 0, 1)
    return result


def colour_jitter(
    rng: np.random.Generator | int,
    image: np.ndarray,
    *,
    brightness: float = 0.5,
    contrast: float = 0.5,
    saturation: float = 0.5,
    hue: float = 0.05,
) -> np.ndarray:
    """Changes an image in all four ways, in random order.

    Args:
        rng: Draws the order, then the three factors, U(max(0, 1 - x), 1 + x), then the turn of the hue, U(-hue, hue).
        image: (H, W, C) float32 in [0, 1]. Saturation and hue leave it alone unless it has three channels.

    Returns:
        (H, W, C) float32 in [0, 1], a new array.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    order = rng.permutation(4)
    factors = [rng.uniform(max(0.0, 1 - width), 1 + width) for width in (brightness, contrast, saturation)]
    changes = [adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue]
    pairs = list(zip(changes, [*factors, rng.uniform(-hue, hue)], strict=True))
    for place in order:
        change, amount = pairs[place]
        image = change(image, amount)
    return image
