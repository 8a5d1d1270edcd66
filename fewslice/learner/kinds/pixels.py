"""Every pixel value of a unit, as k-center is published for raw images."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("pixels")
def pixels(inputs: Inputs) -> np.ndarray:
    """Returns (N, NX x NY x C) float32, memory-mapped."""
    from fewslice.learner.features import PIXELS, embed

    given = {"key": inputs.key, "batch_size": inputs.batch_size, "path": inputs.folder / "pixels_of_slices.npy"}
    return embed(PIXELS, inputs.images, inputs.dataset, **given)
