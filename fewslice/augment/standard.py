"""The field's standard augmentation of images of two or three dimensions: spatial changes, then changes of intensity.

A transform is called by its name; a training lists those that it uses (`--augment`). Rotation and scaling become one
interpolation. Intensities may have any scale: amounts are relative to the standard deviation or range of the image.

    @TRANSFORMS.register("ghosting", probability=0.1)
    def ghosting(rng, image): ...            # (*space, C) float32 -> the same, not in place

Source: Isensee et al., 2021, nnU-Net, https://doi.org/10.1038/s41592-020-01008-z, supplement 4 (data augmentation);
`bias_field` as in `strong_intensity`.

Notes:
    Differs from there: rotation and scaling are drawn with probability 0.5 instead of 0.2, since few images are seen
    many times; images are interpolated linearly; `bias_field` is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fewslice.augment import strong_intensity
from fewslice.core.registry import Registry
from fewslice.settings import recipe

TRANSFORMS = Registry("transform")
SPATIAL = ("rotation", "scaling", recipe.MIRRORING)
SPATIAL_PROBABILITY = 0.5  # of rotation and of scaling
ROTATION_DEG = 180.0  # in the plane of the last two axes; 30 about the others
OTHER_ROTATION_DEG = 30.0
SCALING = (0.7, 1.4)
MIRROR_PROBABILITY = 0.5  # of each axis


def register(name: str, probability: float):
    """Returns a decorator that makes a function (rng, image) -> image a transform of intensities."""
    return TRANSFORMS.register(name, probability=probability)


@register("noise", 0.1)
def _noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds Gaussian noise of a variance of at most 0.1 times that of the image."""
    sigma = np.sqrt(rng.uniform(0, 0.1)) * image.std()
    return image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)


@register("blur", 0.2)
def _blur(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Blurs by a Gaussian of 0.5 to 1 pixels."""
    return ndimage.gaussian_filter(image, rng.uniform(0.5, 1.0), axes=range(image.ndim - 1))


@register("brightness", 0.15)
def _brightness(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Multiplies by 0.75 to 1.25."""
    return image * np.float32(rng.uniform(0.75, 1.25))


@register("contrast", 0.15)
def _contrast(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Stretches about the mean by 0.75 to 1.25, within the range of the image."""
    mean = image.mean()
    return np.clip((image - mean) * np.float32(rng.uniform(0.75, 1.25)) + mean, image.min(), image.max())


@register("bias_field", 0.15)
def _bias_field(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Multiplies by a smooth field, the exponential of a polynomial over the last two axes."""
    size = strong_intensity.BIAS_ORDER + 1
    coefficients, strength = rng.standard_normal((size, size)), rng.uniform(0, strong_intensity.BIAS)
    return image * strong_intensity.bias_field(coefficients, image.shape[-3:-1], strength=strength)[..., np.newaxis]


@register("low_resolution", 0.25)
def _low_resolution(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Takes every second to every pixel (nearest), and enlarges again (linear)."""
    factor = rng.uniform(0.5, 1.0)
    small = ndimage.zoom(image, (*[factor] * (image.ndim - 1), 1), order=0, mode="nearest", grid_mode=True)
    back = [new / old for new, old in zip(image.shape, small.shape, strict=True)]
    return ndimage.zoom(small, back, order=1, mode="nearest", grid_mode=True)


@register("gamma", 0.3)
def _gamma(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Raises intensities within their range to a power of 0.7 to 1.5; mean and standard deviation stay."""
    low, high = image.min(), image.max()
    if high <= low:
        return image
    changed = ((image - low) / (high - low)) ** np.float32(rng.uniform(0.7, 1.5))
    return (changed - changed.mean()) * (image.std() / max(changed.std(), 1e-7)) + image.mean()


@register("inverted_gamma", 0.1)
def _inverted_gamma(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """As `gamma`, of the negative."""
    return -_gamma(rng, -image)


def known_transforms() -> tuple[str, ...]:
    """Returns all names that a training may list, those of plugins included."""
    return (*SPATIAL, *TRANSFORMS.names())


def listed(text: str) -> tuple[str, ...]:
    """Returns the names in a text, separated by commas, as settings have them; () for an empty one."""
    return tuple(filter(None, text.split(",")))


def augment(
    rng: np.random.Generator | int,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    names: Sequence[str] = recipe.TRANSFORMS,
    label_fill: int | np.ndarray = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Augments a batch, each image by itself.

    Args:
        rng: Draws image by image.
        images: (batch, *space, C) float32, 2 or 3 axes of space; the channels of an image move alike.
        labels: (batch, *space) integers; nearest neighbour.
        names: Transforms; intensities change in the order given.
        label_fill: Label of pixels from outside, one or (batch,).

    Returns:
        New arrays of the same shapes and dtypes. Images are filled with 0.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    chosen = [TRANSFORMS.get(name) for name in names if name not in SPATIAL]
    out_images, out_labels = images.copy(), labels.copy()
    fills = np.broadcast_to(label_fill, len(images))
    for row in range(len(images)):
        image, label = out_images[row], out_labels[row]
        matrix = _drawn_matrix(rng, label.ndim, rotates="rotation" in names, scales="scaling" in names)
        if matrix is not None:
            image, label = _moved(image, label, matrix, int(fills[row]))
        if recipe.MIRRORING in names:
            axes = tuple(np.flatnonzero(rng.random(label.ndim) < MIRROR_PROBABILITY))
            image, label = np.flip(image, axes), np.flip(label, axes)
        for transform in chosen:
            if rng.random() < transform.probability:
                image = transform(rng, image)
        out_images[row], out_labels[row] = image, label
    return out_images, out_labels


def _drawn_matrix(rng: np.random.Generator, dims: int, *, rotates: bool, scales: bool) -> np.ndarray | None:
    """Returns the (dims, dims) matrix from output to input offsets from the centre; None if nothing moves."""
    turns, grows = rng.random(2) < SPATIAL_PROBABILITY
    angles, factor = rng.uniform(-1, 1, 3), rng.uniform(*SCALING)
    if not (turns and rotates or grows and scales):
        return None
    matrix = np.eye(dims)
    if turns and rotates:
        limits = (ROTATION_DEG, OTHER_ROTATION_DEG, OTHER_ROTATION_DEG)
        planes = [(-2, -1), (-3, -1), (-3, -2)][: 1 if dims == 2 else 3]
        for (first, second), amount, limit in zip(planes, angles, limits, strict=False):
            cos, sin = np.cos(np.radians(amount * limit)), np.sin(np.radians(amount * limit))
            turn = np.eye(dims)
            turn[first, first] = turn[second, second] = cos
            turn[first, second], turn[second, first] = sin, -sin
            matrix = turn @ matrix
    return matrix / factor if grows and scales else matrix


def _moved(image: np.ndarray, label: np.ndarray, matrix: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
    centre = (np.array(label.shape) - 1) / 2
    how = {"matrix": matrix, "offset": centre - matrix @ centre, "mode": "constant"}
    channels = [ndimage.affine_transform(channel, order=1, cval=0.0, **how) for channel in np.moveaxis(image, -1, 0)]
    return np.stack(channels, axis=-1), ndimage.affine_transform(label, order=0, cval=fill, **how)
