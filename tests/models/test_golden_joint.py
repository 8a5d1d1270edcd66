"""The joint network against the published code's outputs for given weights (golden/contrastive/net).

Tolerances are those of the golden README: inference 1e-4, training mode 5e-4; evaluated in float64 where the backend
has it, see test_golden_net.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

import models
from models.transfer import named_variables, set_weights
from tests.golden_files import golden, golden_param
from tests.models.published_weights import load

CASES = golden_param("contrastive/net", "joint_forward*.npz")
pytestmark = pytest.mark.usefixtures("double_precision", "zeros_first")


def published_joint_net(path, data):
    with np.load(golden(path.parent.parent.name + "/net", "weights.npz")[0]) as archive:
        weights = dict(archive)
    head = "W|joint|"
    weights |= {name.removeprefix(head): values for name, values in data.items() if name.startswith(head)}
    num_classes = data["prob_infer"].shape[-1]
    model = models.build_joint_net(data["x"].shape[1:], num_classes, num_labelled=int(data["mtask_bs"]))
    set_weights(model, load(weights, named_variables(model), "unet"))
    return model


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
@pytest.mark.parametrize(("mode", "training", "tolerance"), [("infer", False, 1e-4), ("train", True, 5e-4)])
def test_probabilities_and_embeddings(path, mode, training, tolerance):
    data = dict(np.load(path))
    model = published_joint_net(path, data)
    outputs = (model if training else models.both_heads(model))(data["x"], training=training)
    probabilities = ops.convert_to_numpy(ops.softmax(outputs["logits"]))
    embeddings = ops.convert_to_numpy(outputs["embeddings"])
    assert len(embeddings) == (2 * int(data["batch_size_ft"]) if training else len(data["x"]))
    step = 1 if training else 4
    np.testing.assert_allclose(probabilities, data[f"prob_{mode}"], atol=tolerance)
    np.testing.assert_allclose(embeddings[:, ::step, ::step], data[f"emb_{mode}"], atol=tolerance)
