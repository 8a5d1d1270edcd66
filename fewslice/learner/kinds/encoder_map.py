"""A map of the encoder of the last trained segmentation network, as it is."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from fewslice.learner.kinds import Inputs, register

Level = Annotated[int, Ge(0), Le(4)]


@register("encoder_map", needs_network=True)
def encoder_map(inputs: Inputs, *, level: Level = 0) -> np.ndarray:
    """Returns (N, height x width x channels), float16, memory-mapped.

    Args:
        level: Which of the encoder's five maps, 0 the finest.

    Source: `use_model_features` with `inf_train_type: features` of Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
    """
    network, model = inputs.find_network()
    return inputs.rows(network.encoder_map(model, level))
