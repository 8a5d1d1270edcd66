"""Features of images: embeddings of a pretrained encoder, pixels, or what the last trained network says of a unit.

Source: `use_model_features` of Vepa et al., 2024, https://arxiv.org/abs/2411.15763, with `inf_train_type: preds` or
`features`; the pooled map is ours, small enough for strategies whose work grows with D.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from fewslice.learner.kinds import Inputs, register
from fewslice.settings.declare import Count

Level = Annotated[int, Ge(0), Le(4)]  # which of the encoder's five maps, 0 the finest


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


@register("predictions", needs_network=True)
def predictions(inputs: Inputs) -> np.ndarray:
    """Returns (N, NX x NY x classes) float16, memory-mapped."""
    from fewslice.train.predict import softmax

    network, model = inputs.find_network()
    return inputs.rows(network.part(model), reduce=softmax)


@register("encoder_map", needs_network=True)
def encoder_map(inputs: Inputs, *, level: Level = 0) -> np.ndarray:
    """Returns (N, height x width x channels), float16, memory-mapped: a map as it is."""
    network, model = inputs.find_network()
    return inputs.rows(network.encoder_map(model, level))


@register("pooled_map", needs_network=True)
def pooled_map(inputs: Inputs, *, level: Level = 0) -> np.ndarray:
    """Returns (N, channels), float16, memory-mapped: a map averaged over its pixels."""
    network, model = inputs.find_network()
    maps = network.encoder_map(model, level)
    return inputs.rows(maps, reduce=lambda values: values.mean(axis=tuple(range(1, values.ndim - 1))))
