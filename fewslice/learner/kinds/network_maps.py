"""What the last trained segmentation network says of a unit: class probabilities, or a map of its encoder.

Source: `use_model_features` of Vepa et al., 2024, https://arxiv.org/abs/2411.15763, with `inf_train_type: preds` or
`features`; the pooled map is ours, small enough for strategies whose work grows with D.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from fewslice.learner.kinds import Inputs, register

Level = Annotated[int, Ge(0), Le(4)]  # which of the encoder's five maps, 0 the finest


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
