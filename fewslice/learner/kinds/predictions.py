"""Class probabilities of the segmentation network of the round before."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("predictions", needs_network=True)
def predictions(inputs: Inputs) -> np.ndarray:
    """Returns (N, NX x NY x classes) float16, memory-mapped.

    Source: `use_model_features` with `inf_train_type: preds` of Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
    """
    from fewslice.learner.networks import segmentation_part

    return inputs.rows(segmentation_part(inputs.find_network()), "predictions")
