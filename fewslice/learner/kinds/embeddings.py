"""Features of images: embeddings of a pretrained encoder, the experiment's or of any run that it names; or pixels."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register
from fewslice.settings.declare import Count


@register("encoder", needs_encoder=True)
def encoder(inputs: Inputs, *, batch_size: Count = 128) -> np.ndarray:
    """Returns (N, 512 or 2048) of a ResNet, (N, 128) of a U-Net's encoder, float32, memory-mapped."""
    from fewslice.learner.features import embed

    path = inputs.folder / "embeddings.npy"
    run, images = inputs.find_encoder(), inputs.images
    return embed(run, images, inputs.dataset, key=inputs.key, batch_size=batch_size, path=path)


@register("pixels")
def pixels(inputs: Inputs) -> np.ndarray:
    """Returns (N, NX x NY x C) float32, memory-mapped, as k-center is published for raw images."""
    from fewslice.learner.features import PIXELS, embed

    given = {"key": inputs.key, "batch_size": inputs.batch_size, "path": inputs.folder / "pixels_of_slices.npy"}
    return embed(PIXELS, inputs.images, inputs.dataset, **given)
