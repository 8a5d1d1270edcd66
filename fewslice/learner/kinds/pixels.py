"""Every pixel value of a slice, as k-center is published for raw images."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("pixels")
def pixels(inputs: Inputs) -> np.ndarray:
    """Returns (N, NX x NY x C) float32, memory-mapped."""
    from fewslice.learner import embeddings

    return embeddings.embed_volumes(
        embeddings.PIXELS,
        inputs.volumes,
        inputs.dataset,
        batch_size=inputs.embedding_batch,
        out_path=inputs.folder / "pixels_of_slices.npy",
    )
