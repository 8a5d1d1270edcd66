"""A map of the encoder of the segmentation network of the round before, averaged over its pixels."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("pooled_map", needs_network=True)
def pooled_map(inputs: Inputs) -> np.ndarray:
    """Returns (N, channels) of map `inputs.map_index`, float16, memory-mapped.

    Source: ours; small enough for strategies whose work grows with D.
    """
    import models

    return inputs.rows(models.encoder_maps(inputs.find_network(), inputs.map_index), "pooled")
