"""A map of the encoder of the last trained segmentation network, averaged over its pixels."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register
from fewslice.learner.kinds.encoder_map import Level


@register("pooled_map", needs_network=True)
def pooled_map(inputs: Inputs, *, level: Level = 0) -> np.ndarray:
    """Returns (N, channels), float16, memory-mapped.

    Args:
        level: Which of the encoder's five maps, 0 the finest.

    Source: ours; small enough for strategies whose work grows with D.
    """
    network, model = inputs.find_network()
    maps = network.encoder_map(model, level)
    return inputs.rows(maps, reduce=lambda values: values.mean(axis=tuple(range(1, values.ndim - 1))))
