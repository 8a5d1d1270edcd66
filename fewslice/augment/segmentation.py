"""Augmentation of a batch of labelled slices: affine for all, elastic and intensity for the later rows.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511.

Notes:
    Differs from the published code in two ways. There the intensity change was computed and dropped whenever
    deformation was on, so it never reached the network in the default setting. And there the labels were class maps in
    some settings and one-hot in others, which made these fail: here they are always one-hot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewslice.augment import standard
from fewslice.augment.affine import random_affine
from fewslice.augment.elastic import draw_grids, enlarge_grids, warp_pairs
from fewslice.augment.intensity import brightness_contrast, draw_finetuning
from fewslice.augment.strong_intensity import strong_intensity
from fewslice.core.errors import ConfigError


@dataclass(frozen=True)
class SegmentationAugmentation:
    """Changes made to a labelled batch. The names are those of the command line.

    Attributes:
        rd_en: Deforms rows from a random one on.
        ri_en: Changes the intensity of the same rows.
        rd_ni: False leaves every row with the affine change only.
        sigma: Standard deviation of the displacement of a grid point in pixels.
        per_image: Draws brightness and contrast for each image instead of for the batch.
        strong: Also changes gamma, bias field, sharpness and noise of the same rows.
        names: Transforms of `fewslice.augment.standard`, which then take the place of all the others.
    """

    rd_en: bool = True
    ri_en: bool = True
    rd_ni: bool = True
    sigma: float = 5.0
    per_image: bool = False
    strong: bool = False
    names: tuple[str, ...] = ()


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (batch, H, W, num_classes) float32 from integer classes (batch, H, W).

    Pixels of value num_classes are not annotated and get zeros.

    Raises:
        ConfigError: A value outside 0 to num_classes.
    """
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > num_classes:
        raise ConfigError(
            f"Labels must lie in 0 to {num_classes - 1} (`num_classes`={num_classes}). "
            f"Found: {lowest} to {highest}. "
            "Correct `num_classes` or the `label_map` of the dataset."
        )
    return np.take(np.eye(num_classes + 1, num_classes, dtype=np.float32), labels, axis=0, mode="clip")


def forget_mixtures(onehot: np.ndarray) -> None:
    """Makes pixels unknown (zeros) that are a mixture of known and unknown ones, in place; (batch, H, W, K) float32."""
    onehot[onehot.sum(axis=-1) < 1 - 1e-3] = 0


def draw_split(rng: np.random.Generator | int, batch: int) -> int:
    """Draws the first row that is deformed: 1 to batch - 2; 0 to `batch` in batches of one or two."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    return int(rng.integers(1, batch - 1)) if batch > 2 else int(rng.integers(0, batch + 1))


def mix_from(
    images: np.ndarray,
    onehot: np.ndarray,
    *,
    split: int,
    fields: np.ndarray | None,
    intensity: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """Deforms the rows from `split` on and changes their intensity, in place.

    Args:
        images: (batch, H, W, 1) float32.
        onehot: (batch, H, W, K) float32.
        split: First row that changes.
        fields: (batch - split, 2, H, W) float32 displacements in pixels, or None.
        intensity: delta and factor of `brightness_contrast`, (batch - split,) each, or None.
    """
    if fields is not None:
        images[split:], onehot[split:] = warp_pairs(images[split:], onehot[split:], fields)
    if intensity is not None:
        images[split:] = brightness_contrast(images[split:], *intensity)


def augment_segmentation_batch(
    rng: np.random.Generator | int,
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    settings: SegmentationAugmentation,
) -> tuple[np.ndarray, np.ndarray]:
    """Augments a batch of labelled slices.

    Every row gets one of five affine operations. Rows from a random k on (1 <= k <= batch - 2) are then
    deformed elastically and changed in intensity: contrast if they stand in the first half of the batch,
    brightness otherwise.

    Args:
        rng: Draws the affine operations, then grids, intensity and k, whatever the settings; last what `strong` needs.
        images: (batch, H, W, 1) float32.
        labels: (batch, H, W) integer classes, num_classes = not annotated.
        num_classes: Classes including the background.
        settings: The changes beside the affine operations.

    Returns:
        (batch, H, W, 1) float32 images and (batch, H, W, num_classes) float32 one-hot labels, soft where deformed,
        zeros where not annotated. What comes from outside a slice is background, or not annotated if the slice has
        such pixels.

    Raises:
        ConfigError: A label outside 0 to num_classes.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    batch = len(images)
    is_open = (labels == num_classes).any(axis=(1, 2), keepdims=True)
    if settings.names:
        fills = num_classes * is_open.ravel()
        images, labels = standard.augment(rng, images, labels, names=settings.names, label_fill=fills)
        return images, one_hot(labels, num_classes)
    if is_open.any():  # the affine operations fill with 0: there "not annotated" is 0 and classes begin with 1
        labels = (labels + is_open.astype(np.int32)) % (num_classes + 1)
    images, labels = random_affine(rng, images, labels)
    if is_open.any():
        labels = (labels - is_open.astype(np.int32)) % (num_classes + 1)
    onehot = one_hot(labels, num_classes)
    grids = draw_grids(rng, batch, sigma=settings.sigma)
    delta, factor = draw_finetuning(rng, batch, per_image=settings.per_image)
    split = draw_split(rng, batch)
    if settings.rd_ni and split < batch:
        fields = enlarge_grids(grids[split:], images.shape[1:3]) if settings.rd_en else None
        intensity = (delta[split:], factor[split:]) if settings.ri_en else None
        mix_from(images, onehot, split=split, fields=fields, intensity=intensity)
        if settings.strong:
            images[split:] = strong_intensity(rng, images[split:], cuts_out=False)
    if is_open.any():
        forget_mixtures(onehot)
    return images, onehot
