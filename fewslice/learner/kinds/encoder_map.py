"""A map of the encoder of the segmentation network of the round before, as it is."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("encoder_map", needs_network=True)
def encoder_map(inputs: Inputs) -> np.ndarray:
    """Returns (N, height x width x channels) of map `inputs.map_index`, float16, memory-mapped.

    Source: `use_model_features` with `inf_train_type: features` of Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
    """
    import models

    return inputs.rows(models.encoder_maps(inputs.find_network(), inputs.map_index), "encoder_map")
