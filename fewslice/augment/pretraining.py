"""Views of unlabelled slices for contrastive pre-training.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511: global views are cropped, resized and changed in
intensity; local views are changed in intensity only, so that positions in them correspond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fewslice.augment.crop_resize import BOX_PX, START_PX, random_crop_and_resize
from fewslice.augment.intensity import pretraining_intensity
from fewslice.augment.strong_intensity import StrongIntensity, strong_intensity

CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class ViewSettings:
    """How a view is made from a slice.

    Attributes:
        box: Crop box of global views in pixels, one number or (rows, columns).
        start: Half-open range of the first row and column of the box.
        scale_small: Scales both on images with sides below 160 pixels, see `crop_resize.crop_limits`.
        per_image: Draws brightness and contrast for each image instead of for the batch.
        strong: Further intensity transforms after brightness and contrast, or None (published).
    """

    box: int | tuple[int, int] = BOX_PX
    start: tuple[int, int] = START_PX
    scale_small: bool = True
    per_image: bool = False
    strong: StrongIntensity | None = None


def is_constant(images: np.ndarray) -> np.ndarray:
    """Returns (batch,) bool: which images hold one value only."""
    axes = tuple(range(1, images.ndim))
    return images.max(axis=axes) == images.min(axis=axes)


def _crop(rng: np.random.Generator, images: np.ndarray, settings: ViewSettings) -> np.ndarray:
    """Crops at random; a blank crop is drawn again, and at last replaced by the whole image."""
    limits = {"box": settings.box, "start": settings.start, "scale_small": settings.scale_small}
    crops = random_crop_and_resize(rng, images, **limits)
    blank = np.flatnonzero(is_constant(crops))
    for _ in range(CROP_ATTEMPTS if np.any(~is_constant(images[blank])) else 0):
        crops[blank] = random_crop_and_resize(rng, images[blank], **limits)
        blank = blank[is_constant(crops[blank])]
        if not len(blank):
            break
    crops[blank] = images[blank]
    return crops


def augmented_view(
    rng: np.random.Generator,
    images: np.ndarray,
    *,
    crop: bool,
    settings: ViewSettings | None = None,
    draws: int = 1,
) -> np.ndarray:
    """Makes one random view of each slice.

    No view is blank unless its slice is: a blank crop is drawn again, and where clipping would leave one
    value only (a dark crop made darker) the crop keeps its intensity.

    Args:
        rng: Draws the crops, then the intensities.
        images: (batch, H, W, 1) float32.
        crop: Whether to crop and resize.
        settings: Limits of the transforms; None takes the published ones.
        draws: Independent draws of brightness and contrast, each for a run of consecutive images.

    Returns:
        (batch, H, W, 1) float32.
    """
    settings = settings or ViewSettings()
    source = _crop(rng, images, settings) if crop else images
    view = pretraining_intensity(rng, source, per_image=settings.per_image, draws=draws)
    if settings.strong is not None:
        view = strong_intensity(rng, view, settings=settings.strong)
    blank = is_constant(view)
    if blank.any():
        view[blank] = source[blank]
    return view


def global_views(
    rng: np.random.Generator,
    images: np.ndarray,
    *,
    num_views: int = 2,
    include_original: bool = False,
    settings: ViewSettings | None = None,
    draws: int = 1,
) -> list[np.ndarray]:
    """Makes the views of global pre-training: cropped, resized, changed in intensity.

    Args:
        rng: Draws view after view.
        images: (batch, H, W, 1) float32.
        num_views: Views in all.
        include_original: Whether the first view is the slice as it is.
        settings: Limits of the transforms.
        draws: Independent draws of brightness and contrast for each view.

    Returns:
        `num_views` arrays (batch, H, W, 1) float32.
    """
    views = [images] if include_original else []
    while len(views) < num_views:
        views.append(augmented_view(rng, images, crop=True, settings=settings, draws=draws))
    return views


def local_views(
    rng: np.random.Generator, images: np.ndarray, *, settings: ViewSettings | None = None
) -> list[np.ndarray]:
    """Makes the two views of local pre-training.

    They differ in intensity only: a pixel shows the same place in both.

    Args:
        rng: Draws view after view.
        images: (batch, H, W, 1) float32.
        settings: Limits of the transforms; the crop is not used.

    Returns:
        Two arrays (batch, H, W, 1) float32.
    """
    return [augmented_view(rng, images, crop=False, settings=settings) for _ in range(2)]
