"""Random crops of colour images, as in histology: quarter turn, window, mirroring, then brightness, contrast, ...

Changes of colour are those of torchvision's `ColorJitter` and PIL's `ImageEnhance`, without rounding: the image is
mixed with black, its mean luminance, or its luminance, and clipped to [0, 1]; the hue is turned in HSV.
"""

from __future__ import annotations

import numpy as np

JITTER = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.05}
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_SECTORS = (5, 3, 1)  # where red, green and blue begin to fall, in sixths of the circle of hues


def turn_in_place(array: np.ndarray, quarter_turns: int, *, fill: float = 0) -> np.ndarray:
    """Turns (H, W, ...) counter-clockwise by quarters about its centre, on a canvas of unchanged size.

    Where it is not square, odd turns lose what does not fit and leave a margin of value `fill`. Equal to PIL's
    `Image.rotate`, also where the centre lies between two pixels. Maybe a view.
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


def adjust(image: np.ndarray, what: str, amount: float) -> np.ndarray:
    """Returns an image (H, W, C) float32 in [0, 1] with one thing changed; saturation and hue need three channels.

    `what` is a key of `JITTER`, `amount` a factor (1 changes nothing), of the hue a share of the circle.
    """
    is_colour = image.shape[-1] == 3
    if what in ("saturation", "hue") and not is_colour:
        return image
    if what == "hue":
        return _turned_hue(image, amount)
    other = np.float32(0)
    if what != "brightness":
        other = (image @ np.array(_LUMINANCE, np.float32) if is_colour else image.mean(axis=-1))[..., None]
        other = other.mean() if what == "contrast" else other
    return np.clip(image * np.float32(amount) + np.float32(1 - amount) * other, 0, 1)


def _turned_hue(image: np.ndarray, share: float) -> np.ndarray:
    red, green, blue = np.moveaxis(image, -1, 0)
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    per = 1 / np.where(chroma > 0, chroma, np.float32(1))
    hue = np.where(value == green, 2 + (blue - red) * per, 4 + (red - green) * per)
    hue = np.where(value == red, (green - blue) * per, hue) + np.float32(6 * share)  # in sixths of the circle
    place = (hue[..., None] + np.array(_SECTORS, np.float32)) % 6
    return value[..., None] - chroma[..., None] * np.clip(np.minimum(place, 4 - place), 0, 1)


def colour_crop(
    rng: np.random.Generator | int, image: np.ndarray, label: np.ndarray, *, size: int, label_fill: int, jitter=JITTER
) -> tuple[np.ndarray, np.ndarray]:
    """Turns by 0 to 3 quarters, cuts out a window, mirrors left and right every second time, and changes the colours.

    Args:
        rng: Draws turns, window, mirroring; the order of the changes of colour and their amounts.
        image: (H, W, C) float32 in [0, 1].
        label: (H, W) integers.
        size: Rows and columns of the window; a smaller image is filled up with 0 at its end.
        label_fill: Label of what comes from outside of the image.
        jitter: Change of colour -> largest distance from no change; {} for none.

    Returns:
        (size, size, C) and (size, size), new arrays of the same dtypes.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    turns = int(rng.integers(4))
    window = tuple(
        slice(start, start + size) for start in rng.integers(np.maximum(np.subtract(label.shape, size), 0) + 1)
    )
    step = -1 if rng.random() < 0.5 else 1
    views = []
    for array, fill in ((image, 0), (label, label_fill)):
        cut = turn_in_place(array, turns, fill=fill)[window]
        views.append(np.full((size, size, *array.shape[2:]), fill, array.dtype))
        views[-1][: cut.shape[0], : cut.shape[1]] = cut
    image, label = (np.ascontiguousarray(view[:, ::step]) for view in views)
    for what in rng.permutation(list(jitter)):
        amount = rng.uniform(-jitter[what], jitter[what])
        image = adjust(image, what, amount if what == "hue" else max(0.0, 1 + amount))
    return image, label
