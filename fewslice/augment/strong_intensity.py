"""Stronger, optional changes of intensity that make contrastive views harder to match.

Two views of a slice that differ in brightness and contrast only are told apart from their neighbours within a
few hundred steps, and the loss teaches nothing more. These transforms take away what gives the match away:
the intensity curve (gamma), the slowly varying gain (bias field), the sharpness (blur), the texture (noise),
a part of the image (cutout). None moves a pixel, so positions of two views still correspond. Not part of the
published method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fewslice.core.errors import ConfigError

BIAS_ORDER = 3


@dataclass(frozen=True)
class StrongIntensity:
    """How far each transform may go; 0 or None switches one off.

    Attributes:
        probability: Chance of each transform for each image.
        gamma: Range of the exponent, drawn uniformly in its logarithm. Negative values are set to 0 before.
        bias: Largest |log| of the multiplicative bias field, a random polynomial of order 3.
        blur: Largest standard deviation of the Gaussian blur in pixels.
        noise: Largest standard deviation of the Gaussian noise.
        cutout: Longest side of the erased box as a fraction of the image side; filled with the image's mean.
    """

    probability: float = 0.5
    gamma: tuple[float, float] | None = (0.6, 1.6)
    bias: float = 0.4
    blur: float = 1.5
    noise: float = 0.08
    cutout: float = 0.3

    def __post_init__(self):
        problems = []
        if not 0 <= self.probability <= 1:
            problems.append(f"`probability` must lie in [0, 1]. Received: {self.probability}")
        if self.gamma is not None and not 0 < self.gamma[0] <= self.gamma[1]:
            problems.append(f"`gamma` must be (low, high) with 0 < low <= high. Received: {self.gamma}")
        if not 0 <= self.cutout < 1:
            problems.append(f"`cutout` must lie in [0, 1). Received: {self.cutout}")
        problems += [
            f"`{name}` must not be negative. Received: {getattr(self, name)}"
            for name in ("bias", "blur", "noise")
            if getattr(self, name) < 0
        ]
        if problems:
            raise ConfigError("\n".join(problems))


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
    """Returns (H, W) float32 with `box` (rows, columns) at (top, left) filled with the image's mean."""
    image = image.copy()
    image[top : top + box[0], left : left + box[1]] = image.mean()
    return image


def _transform(rng: np.random.Generator, image: np.ndarray, settings: StrongIntensity) -> np.ndarray:
    """Applies to one (H, W) image those transforms that its coins choose."""
    height, width = image.shape
    use_gamma, use_bias, use_blur, use_noise, use_cutout = rng.random(5) < settings.probability
    if use_gamma and settings.gamma is not None:
        exponent = math.exp(rng.uniform(math.log(settings.gamma[0]), math.log(settings.gamma[1])))
        image = np.power(np.maximum(image, 0), np.float32(exponent))
    if use_bias and settings.bias > 0:
        coefficients = rng.standard_normal((BIAS_ORDER + 1, BIAS_ORDER + 1))
        image = image * bias_field(coefficients, image.shape, strength=rng.uniform(0, settings.bias))
    if use_blur and settings.blur > 0:
        image = gaussian_blur(image, rng.uniform(0.3, 1) * settings.blur)
    if use_noise and settings.noise > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(rng.uniform(0, settings.noise))
        image = image + noise
    if use_cutout and settings.cutout > 0:
        sides = rng.uniform(0.3, 1, size=2) * settings.cutout
        box = max(1, int(sides[0] * height)), max(1, int(sides[1] * width))
        image = cutout(image, rng.integers(height - box[0] + 1), rng.integers(width - box[1] + 1), box=box)
    return image


def strong_intensity(
    rng: np.random.Generator,
    images: np.ndarray,
    *,
    settings: StrongIntensity | None = None,
    clip: tuple[float, float] | None = (0.0, 1.5),
) -> np.ndarray:
    """Applies gamma, bias field, blur, noise and cutout, each with some probability, to each image by itself.

    Args:
        rng: Draws image by image.
        images: (batch, H, W, 1) float32, about [0, 1].
        settings: Limits of the transforms; None takes the defaults.
        clip: Lowest and highest value of the result, or None.

    Returns:
        (batch, H, W, 1) float32, a new array.
    """
    settings = settings or StrongIntensity()
    out = np.empty_like(images)
    for index in range(len(images)):
        out[index, :, :, 0] = _transform(rng, images[index, :, :, 0], settings)
    if clip is not None:
        np.clip(out, *clip, out=out)
    return out
