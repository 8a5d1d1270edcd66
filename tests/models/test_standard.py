"""Networks of Keras' own layers against ours, with random weights and statistics. Expected values: our networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import models

NETWORKS = {
    "unet": lambda: models.build_unet((32, 64, 2), 3),
    "scribble": lambda: models.build_scribble_unet((16, 32, 1), 4, widths=(2, 3, 4), dropout=(0.1, 0.0, 0.2)),
    "two branches": lambda: models.main_branch(
        models.build_scribble_unet((8, 8, 1), 3, branches=2, widths=(2, 4), dropout=(0.1, 0.2))
    ),
    "joint": lambda: models.segmentation_part(models.build_joint_net((32, 32, 1), 3, num_labelled=1)),
    "strided": lambda: models.build_strided_unet((None, None, 3), 2, width=2),
    "resnet": lambda: models.build_resnet_unet((32, 32, 1), 3, depth=18, width=2, decoder_widths=(4, 4, 3, 3, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_and_loaded_by_keras_alone(name):
    ours, rng = NETWORKS[name](), np.random.default_rng(0)
    for variable in ours.variables:
        is_positive = variable.name in ("gamma", "moving_variance")
        values = rng.uniform(0.5, 1.5, variable.shape) if is_positive else rng.normal(0, 0.3, variable.shape)
        variable.assign(values)
    theirs = models.standard_network(ours)
    text = theirs.to_json()
    assert "fewslice" not in text and not any(type(layer).__module__.startswith("models") for layer in theirs.layers)
    loaded = keras.models.model_from_json(text)
    loaded.set_weights(theirs.get_weights())
    _, *sides, channels = ours.input_shape
    images = rng.random((2, *(side or odd for side, odd in zip(sides, (9, 14), strict=True)), channels), np.float32)
    expected = keras.ops.convert_to_numpy(ours(images, training=False))
    scale = abs(expected).max()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(images)) / scale, expected / scale, atol=2e-5)


def test_a_layer_of_somebody_else_is_refused():
    class Mine(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((4, 4, 1))
    with pytest.raises(ValueError, match="'mine' is none of Keras' own"):
        models.standard_network(keras.Model(inputs, Mine(name="mine")(inputs)))
