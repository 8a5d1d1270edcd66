"""Views of unlabelled slices for contrastive pre-training.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511: global views are cropped, resized and changed in
intensity; local views are changed in intensity only, so that positions in them correspond.
"""

from __future__ import annotations

import numpy as np

from fewslice.augment.crop_resize import random_crop_and_resize
from fewslice.augment.intensity import pretraining_intensity
from fewslice.augment.strong_intensity import strong_intensity

CROP_ATTEMPTS = 10


def is_constant(images: np.ndarray) -> np.ndarray:
    """Returns (batch,) bool: which images hold one value only."""
    axes = tuple(range(1, images.ndim))
    return images.max(axis=axes) == images.min(axis=axes)


def _crop(rng: np.random.Generator, images: np.ndarray, box: int) -> np.ndarray:
    """Crops at random; a blank crop is drawn again, and at last replaced by the whole image."""
    crops = random_crop_and_resize(rng, images, box=box)
    blank = np.flatnonzero(is_constant(crops))
    for _ in range(CROP_ATTEMPTS if np.any(~is_constant(images[blank])) else 0):
        crops[blank] = random_crop_and_resize(rng, images[blank], box=box)
        blank = blank[is_constant(crops[blank])]
        if not len(blank):
            break
    crops[blank] = images[blank]
    return crops


def augmented_view(
    rng: np.random.Generator | int, images: np.ndarray, *, box: int | None = None, strong: bool = False, draws: int = 1
) -> np.ndarray:
    """Makes one random view of each slice.

    No view is blank unless its slice is: a blank crop is drawn again, and where clipping would leave one
    value only (a dark crop made darker) the crop keeps its intensity.

    Args:
        rng: Draws the crops, then the intensities.
        images: (batch, H, W, 1) float32.
        box: Side in pixels of the box that is enlarged, see `crop_resize.crop_limits`; None does not crop.
        strong: Draws brightness and contrast for each image, and changes intensities further (`strong_intensity`).
        draws: Without `strong`: independent draws of brightness and contrast, each for a run of consecutive images.

    Returns:
        (batch, H, W, 1) float32.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    source = images if box is None else _crop(rng, images, box)
    view = pretraining_intensity(rng, source, per_image=strong, draws=draws)
    if strong:
        view = strong_intensity(rng, view)
    blank = is_constant(view)
    if blank.any():
        view[blank] = source[blank]
    return view
