"""Class probabilities of the last trained segmentation network."""

from __future__ import annotations

import numpy as np

from fewslice.learner.kinds import Inputs, register


@register("predictions", needs_network=True)
def predictions(inputs: Inputs) -> np.ndarray:
    """Returns (N, NX x NY x classes) float16, memory-mapped.

    Source: `use_model_features` with `inf_train_type: preds` of Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
    """
    from fewslice.train.predict import softmax

    network, model = inputs.find_network()
    return inputs.rows(network.part(model), reduce=softmax)
