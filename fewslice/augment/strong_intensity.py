"""Stronger, optional changes of intensity that make contrastive views harder to match.

Two views of a slice that differ in brightness and contrast only are told apart from their neighbours within a
few hundred steps, and the loss teaches nothing more. These transforms take away what gives the match away:
the intensity curve (gamma), the slowly varying gain (bias field), the sharpness (blur), the texture (noise),
a part of the image (cutout). None moves a pixel, so positions of two views still correspond. Not part of the
published method.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fewslice.augment.intensity import PRETRAINING_CLIP

PROBABILITY = 0.5  # of each transform for each image
GAMMA = (0.6, 1.6)  # exponent, uniform in its logarithm; negative intensities are set to 0 before
BIAS = 0.4  # largest |log| of the multiplicative bias field, a random polynomial
BIAS_ORDER = 3
BLUR_PX = 1.5  # largest standard deviation of the Gaussian blur
NOISE = 0.08  # largest standard deviation of the Gaussian noise
CUTOUT = 0.3  # longest side of the erased box as a fraction of the image side; filled with the image's mean


@lru_cache(maxsize=32)
def _powers(side: int) -> np.ndarray:
    """Returns (order + 1, side) float32: powers of a coordinate from -1 to 1."""
    powers = (np.linspace(-1, 1, side) ** np.arange(BIAS_ORDER + 1)[:, None]).astype(np.float32)
    powers.setflags(write=False)
    return powers


def bias_field(coefficients: np.ndarray, shape: tuple[int, int], *, strength: float) -> np.ndarray:
    """Returns exp(p), p a polynomial scaled to a largest absolute value of `strength`: (H, W) float32.

    Args:
        coefficients: (4, 4); entry (i, j) belongs to row^i * column^j and counts if 0 < i + j <= 3.
        shape: (H, W).
        strength: Largest |log| of the field.
    """
    order = np.arange(BIAS_ORDER + 1)
    degree = order[:, None] + order
    kept = np.where((degree > 0) & (degree <= BIAS_ORDER), coefficients, 0).astype(np.float32)
    rows, columns = _powers(shape[0]), _powers(shape[1])
    along = np.einsum("ij,jw->iw", kept, columns)
    field = np.multiply(rows[0][:, None], along[0])
    for power in range(1, BIAS_ORDER + 1):
        field += rows[power][:, None] * along[power]
    peak = max(field.max(), -field.min())
    if peak > 0:
        field *= np.float32(strength) / peak
    return np.exp(field, out=field)


def gaussian_blur(image: np.ndarray, sigma: float, *, radius: int | None = None, mode: str = "edge") -> np.ndarray:
    """Blurs the first two axes of an image.

    Args:
        image: (H, W) or (H, W, C) float32.
        sigma: Standard deviation in pixels; 0 changes nothing.
        radius: Where the Gaussian is cut, in pixels; default 3 sigma, rounded up.
        mode: What lies outside: "edge" repeats the edge, "reflect" mirrors without repeating it (`numpy.pad`).

    Returns:
        An array of the same shape and dtype.

    Notes:
        `scipy.ndimage.correlate1d` is no faster, and sums in float64: trainings would no longer give the same bits.
    """
    radius = math.ceil(3 * sigma) if radius is None else radius
    if radius == 0:
        return image
    taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    taps = (taps / (taps[0] + 2 * taps[1:].sum())).astype(np.float32)
    for axis in (0, 1):
        padding = [(radius, radius) if other == axis else (0, 0) for other in range(image.ndim)]
        lines = np.pad(image, padding, mode=mode).swapaxes(0, axis)
        length = image.shape[axis]
        blurred = lines[radius : radius + length] * taps[0]
        for offset in range(1, radius + 1):
            both = lines[radius - offset :][:length] + lines[radius + offset :][:length]
            both *= taps[offset]
            blurred += both
        image = blurred.swapaxes(0, axis)
    return image


def cutout(image: np.ndarray, top: int, left: int, *, box: tuple[int, int]) -> np.ndarray:
    """Returns the image (H, W, ...) with `box` (rows, columns) at (top, left) filled with the image's mean."""
    image = image.copy()
    image[top : top + box[0], left : left + box[1]] = image.mean()
    return image


def _transform(rng: np.random.Generator, image: np.ndarray, *, cuts_out: bool) -> np.ndarray:
    """Applies to one (H, W, C) image those transforms that its coins choose."""
    height, width = image.shape[:2]
    use_gamma, use_bias, use_blur, use_noise, use_cutout = rng.random(5) < PROBABILITY
    if use_gamma:
        exponent = math.exp(rng.uniform(math.log(GAMMA[0]), math.log(GAMMA[1])))
        image = np.power(np.maximum(image, 0), np.float32(exponent))
    if use_bias:
        coefficients = rng.standard_normal((BIAS_ORDER + 1, BIAS_ORDER + 1))
        image = image * bias_field(coefficients, (height, width), strength=rng.uniform(0, BIAS))[..., np.newaxis]
    if use_blur:
        image = gaussian_blur(image, rng.uniform(0.3, 1) * BLUR_PX)
    if use_noise:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(rng.uniform(0, NOISE))
        image = image + noise
    if use_cutout and cuts_out:
        sides = rng.uniform(0.3, 1, size=2) * CUTOUT
        box = max(1, int(sides[0] * height)), max(1, int(sides[1] * width))
        image = cutout(image, rng.integers(height - box[0] + 1), rng.integers(width - box[1] + 1), box=box)
    return image


def strong_intensity(rng: np.random.Generator | int, images: np.ndarray, *, cuts_out: bool = True) -> np.ndarray:
    """Applies gamma, bias field, blur, noise and cutout, each with some probability, to each image by itself.

    Args:
        rng: Draws image by image.
        images: (batch, H, W, C) float32, about [0, 1].
        cuts_out: Whether cutout is among the transforms.

    Returns:
        (batch, H, W, C) float32 in [0, 1.5], a new array.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    out = np.empty_like(images)
    for index in range(len(images)):
        out[index] = _transform(rng, images[index], cuts_out=cuts_out)
    return np.clip(out, *PRETRAINING_CLIP, out=out)
