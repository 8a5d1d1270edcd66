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

import numpy as np

from fewslice.augment.intensity import PRETRAINING_CLIP
from fewslice.augment.strong_intensity import gaussian_blur

JITTER_PROBABILITY = 0.8  # that brightness and contrast of an image change, both together
BRIGHTNESS = 0.5  # the image is multiplied by U(1 - brightness, 1 + brightness)
CONTRAST = 0.5  # its difference from its mean is multiplied by U(1 - contrast, 1 + contrast)
GAMMA_PROBABILITY = 0.5
GAMMA = (0.7, 1.5)  # exponent, uniform in its logarithm; negative intensities are set to 0 before
BLUR_PROBABILITY = 0.5
BLUR_PX = (0.1, 2.0)  # standard deviation


def jitter(images: np.ndarray, brightness: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Multiplies each image by `brightness`, then its difference from its mean by `contrast`.

    Args:
        images: (batch, H, W, C) float32.
        brightness: (batch,) factors.
        contrast: (batch,) factors.

    Returns:
        (batch, H, W, C) float32, a new array.
    """
    flat = images.reshape(len(images), -1)
    brightness, contrast = np.asarray(brightness, np.float32), np.asarray(contrast, np.float32)
    out = flat * (brightness * contrast)[:, None]
    out += (brightness * (1 - contrast) * flat.mean(axis=1, dtype=np.float32))[:, None]
    return out.reshape(images.shape)


def strong_view(rng: np.random.Generator | int, images: np.ndarray) -> np.ndarray:
    """Changes brightness, contrast, gamma and sharpness of each image by itself.

    Args:
        rng: Draws for all images: three coins, then brightness, contrast, exponent and blur, used or not.
        images: (batch, H, W, C) float32, about [0, 1].

    Returns:
        (batch, H, W, C) float32 in [0, 1.5], a new array.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    batch = len(images)
    use_jitter, use_gamma, use_blur = rng.random((3, batch)) < np.array(
        [[JITTER_PROBABILITY], [GAMMA_PROBABILITY], [BLUR_PROBABILITY]]
    )
    brightness = rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, batch)
    contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST, batch)
    exponent = np.exp(rng.uniform(*np.log(GAMMA), batch)).astype(np.float32)
    sigma = rng.uniform(*BLUR_PX, batch)
    out = jitter(images, np.where(use_jitter, brightness, 1), np.where(use_jitter, contrast, 1))
    for index in range(batch):
        image = out[index]
        if use_gamma[index]:
            np.power(np.maximum(image, 0, out=image), exponent[index], out=image)
        if use_blur[index]:
            out[index] = gaussian_blur(image, sigma[index])
    return np.clip(out, *PRETRAINING_CLIP, out=out)
