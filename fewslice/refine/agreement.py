"""Quality control of pseudo-labels: does the network say the same about two views of a volume?

Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645: a volume is pseudo-labelled only if the predictions on two
independently transformed copies, mapped back, overlap with a mean F1 above a threshold (0.9).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fewslice.augment.volume_views import VolumeView, apply_view, draw_two_views, undo_to_labels, visible
from fewslice.evaluate.metrics import dice_per_class


def agreement(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, num_classes: int, rng: np.random.Generator | int
) -> np.ndarray:
    """Predicts two random views of a volume, maps both back and returns the F1 of each class.

    Holds one probability volume at a time.

    Args:
        predict: (Z, H, W, 1) float32 -> probabilities (Z, H, W, K).
        images: (Z, H, W, C) float32.
        num_classes: K, background included.

    Returns:
        (K,) float64, background first; 0 if a class is in one view only, NaN if in neither.

    Raises:
        ValueError: Images of another shape.
        RuntimeError: `predict` returns another shape than it should.

    Notes:
        Differs from the published code in that pixels that leave the image in either view are not compared: there,
        they counted as background, a structure near the border lowered the agreement of a network that was right twice,
        and a scaling by s was undone by 2 - s. Classes that occur in neither view are NaN in their own place; there
        the array became shorter.
    """
    if images.ndim != 4:
        raise ValueError(f"`images` must be (Z, H, W, C). Received: shape {images.shape}")
    views = draw_two_views(rng)
    labels = [_labels_through(view, predict, images, num_classes=num_classes) for view in views]
    mask = np.logical_and(*(visible(view, images.shape[1:3]) for view in views))
    return dice_per_class(*(volume[:, mask] for volume in labels), num_classes)  # of (Z, visible pixels)


def _labels_through(
    view: VolumeView, predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Returns (Z, H, W): the classes predicted on the view, at the pixels of the original."""
    probabilities = np.asarray(predict(apply_view(view, images)))
    expected = (*images.shape[:3], num_classes)
    if probabilities.shape != expected:
        raise RuntimeError(f"`predict` must return probabilities {expected}. Received: shape {probabilities.shape}")
    return undo_to_labels(view, probabilities)
