"""Embeddings of a pretrained encoder: that of the experiment, or any run that it names."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("encoder", needs_encoder=True)
def encoder(inputs: Inputs) -> np.ndarray:
    """Returns (N, 512 or 2048) of a ResNet, (N, 128) of a U-Net's encoder, float32, memory-mapped."""
    from fewslice.learner.features import embed

    path = inputs.folder / "embeddings.npy"
    run, given = inputs.find_encoder(), {"key": inputs.key, "batch_size": inputs.embedding_batch, "path": path}
    return embed(run, inputs.images, inputs.dataset, **given)
