"""Random brightness and contrast.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511: pre-training views change brightness, then contrast;
fine-tuning batches change the contrast of their first half and the brightness of their second.

Notes:
    Differs from the published code in that brightness and contrast are drawn independently. There both
    operations shared a seed, so that the contrast factor was 1 + brightness (pre-training) or 1 + 2 *
    brightness (fine-tuning), in the same sequence in every run.
"""

from __future__ import annotations

import numpy as np

PRETRAINING_CLIP = (0.0, 1.5)


def brightness_contrast(
    images: np.ndarray,
    delta: np.ndarray | float,
    factor: np.ndarray | float,
    *,
    clip: tuple[float, float] | None = None,
) -> np.ndarray:
    """Adds `delta`, then stretches the contrast about each image's mean by `factor`, then clips.

    Args:
        images: (batch, H, W, 1) float32.
        delta: One number, or (batch,).
        factor: One number, or (batch,).
        clip: Lowest and highest value of the result, or None.

    Returns:
        (batch, H, W, 1) float32, a new array: (x + delta - mean) * factor + mean, with the mean of x + delta.
    """
    batch = len(images)
    flat = images.reshape(batch, -1)
    delta = np.broadcast_to(np.asarray(delta, np.float32), (batch,))
    factor = np.broadcast_to(np.asarray(factor, np.float32), (batch,))
    shift = flat.mean(axis=1, dtype=np.float32) * (1 - factor) + delta  # (batch,)
    out = flat * factor[:, None]
    out += shift[:, None]
    if clip is not None:
        np.clip(out, *clip, out=out)
    return out.reshape(images.shape)


def _draw(rng: np.random.Generator, limits: tuple[float, float], batch: int, draws: int) -> np.ndarray:
    """Returns (batch,) float32: `draws` uniform numbers, each for a run of consecutive rows."""
    values = rng.uniform(*limits, size=draws).astype(np.float32)
    return values[np.arange(batch) * draws // max(batch, 1)]


def pretraining_intensity(
    rng: np.random.Generator | int, images: np.ndarray, *, per_image: bool = False, draws: int = 1
) -> np.ndarray:
    """Changes brightness by U(-0.3, 0.3), then contrast by U(0.7, 1.3), and clips to [0, 1.5].

    Args:
        rng: Draws all brightnesses, then all contrasts.
        images: (batch, H, W, 1) float32, about [0, 1].
        per_image: True draws for each image; False (published) shares the draws within a batch.
        draws: Without `per_image`: number of independent draws, each for a run of consecutive images.

    Returns:
        (batch, H, W, 1) float32.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    batch = len(images)
    draws = batch if per_image else draws
    delta = _draw(rng, (-0.3, 0.3), batch, draws)
    factor = _draw(rng, (0.7, 1.3), batch, draws)
    return brightness_contrast(images, delta, factor, clip=PRETRAINING_CLIP)


def draw_finetuning(
    rng: np.random.Generator | int, batch: int, *, per_image: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draws contrast U(0.8, 1.2) for rows < batch / 2 and brightness U(-0.1, 0.1) for the others.

    Returns:
        delta (batch,) and factor (batch,), float32, for `brightness_contrast`.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    draws = batch if per_image else 1
    factor = _draw(rng, (0.8, 1.2), batch, draws)
    delta = _draw(rng, (-0.1, 0.1), batch, draws)
    is_first_half = np.arange(batch) < batch / 2
    return np.where(is_first_half, np.float32(0), delta), np.where(is_first_half, factor, np.float32(1))
