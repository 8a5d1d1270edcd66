"""The strong view of an unlabelled slice in weak-to-strong consistency training: brightness, contrast, gamma, blur.

Yang et al., 2023, UniMatch, https://arxiv.org/abs/2208.09910: the prediction on a weakly changed image is the target
for strongly changed ones. No pixel moves, so the target needs no transform. CutMix comes on top: `cutmix.py`.

Notes:
    Differs from the published code, which jitters the colours of 8-bit images: saturation and hue mean nothing in an
    image of one channel, gamma takes their place; brightness comes before contrast, not in random order; the result is
    clipped once, not after each step. `strong_intensity.py` holds the changes made for contrastive views (bias field,
    noise, cutout), which can follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewslice.augment.strong_intensity import gaussian_blur
from fewslice.core.errors import ConfigError


@dataclass(frozen=True)
class StrongView:
    """How far the strong view may go.

    Attributes:
        jitter_probability: Chance that brightness and contrast of an image change, both together.
        brightness: The image is multiplied by U(1 - brightness, 1 + brightness).
        contrast: Its difference from its mean is multiplied by U(1 - contrast, 1 + contrast).
        gamma_probability: Chance of a change of the intensity curve.
        gamma: Range of the exponent, drawn uniformly in its logarithm. Negative values are set to 0 before.
        blur_probability: Chance of a Gaussian blur.
        blur: Range of its standard deviation in pixels.
    """

    jitter_probability: float = 0.8
    brightness: float = 0.5
    contrast: float = 0.5
    gamma_probability: float = 0.5
    gamma: tuple[float, float] = (0.7, 1.5)
    blur_probability: float = 0.5
    blur: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self):
        problems = [
            f"`{name}` must lie in [0, 1]. Received: {getattr(self, name)}"
            for name in ("jitter_probability", "gamma_probability", "blur_probability")
            if not 0 <= getattr(self, name) <= 1
        ]
        problems += [
            f"`{name}` must lie in [0, 1). Received: {getattr(self, name)}"
            for name in ("brightness", "contrast")
            if not 0 <= getattr(self, name) < 1
        ]
        if not 0 < self.gamma[0] <= self.gamma[1]:
            problems.append(f"`gamma` must be (low, high) with 0 < low <= high. Received: {self.gamma}")
        if not 0 <= self.blur[0] <= self.blur[1]:
            problems.append(f"`blur` must be (low, high) with 0 <= low <= high. Received: {self.blur}")
        if problems:
            raise ConfigError("\n".join(problems))


def jitter(images: np.ndarray, brightness: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Multiplies each image by `brightness`, then its difference from its mean by `contrast`.

    Args:
        images: (batch, H, W, 1) float32.
        brightness: (batch,) factors.
        contrast: (batch,) factors.

    Returns:
        (batch, H, W, 1) float32, a new array.
    """
    flat = images.reshape(len(images), -1)
    brightness, contrast = np.asarray(brightness, np.float32), np.asarray(contrast, np.float32)
    out = flat * (brightness * contrast)[:, None]
    out += (brightness * (1 - contrast) * flat.mean(axis=1, dtype=np.float32))[:, None]
    return out.reshape(images.shape)


def strong_view(
    rng: np.random.Generator,
    images: np.ndarray,
    *,
    settings: StrongView | None = None,
    clip: tuple[float, float] | None = (0.0, 1.5),
) -> np.ndarray:
    """Changes brightness, contrast, gamma and sharpness of each image by itself.

    Args:
        rng: Draws for all images: three coins, then brightness, contrast, exponent and blur, used or not.
        images: (batch, H, W, 1) float32, about [0, 1].
        settings: Limits; None takes the defaults.
        clip: Lowest and highest value of the result, or None.

    Returns:
        (batch, H, W, 1) float32, a new array.
    """
    settings = settings or StrongView()
    batch = len(images)
    use_jitter, use_gamma, use_blur = rng.random((3, batch)) < np.array(
        [[settings.jitter_probability], [settings.gamma_probability], [settings.blur_probability]]
    )
    brightness = rng.uniform(1 - settings.brightness, 1 + settings.brightness, batch)
    contrast = rng.uniform(1 - settings.contrast, 1 + settings.contrast, batch)
    exponent = np.exp(rng.uniform(*np.log(settings.gamma), batch)).astype(np.float32)
    sigma = rng.uniform(*settings.blur, batch)
    out = jitter(images, np.where(use_jitter, brightness, 1), np.where(use_jitter, contrast, 1))
    for index in range(batch):
        image = out[index, :, :, 0]
        if use_gamma[index]:
            np.power(np.maximum(image, 0, out=image), exponent[index], out=image)
        if use_blur[index]:
            out[index, :, :, 0] = gaussian_blur(image, sigma[index])
    if clip is not None:
        np.clip(out, *clip, out=out)
    return out
