"""The network for images of any size, and dropout at inference.

Expected values: recorded outputs of the published network (golden), plain NumPy, and the network's own other ways.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import models
from models.layers import DoubledLike
from models.transfer import set_weights
from tests.golden_files import golden_param

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
STAGES = {"down_convs": "enc{}", "upsample_convs": "dec{}.low", "up_convs": "dec{}"}


def published_weights(data):
    """Returns the weights of a state dictionary by our names."""
    found = {}
    for key in data:
        if not key.startswith("w/") or key.endswith("num_batches_tracked"):
            continue
        value, (*stage, layer, kind) = data[key], key.removeprefix("w/").split(".")
        level = 0 if len(stage) < 2 else int(stage[1]) + 1 if stage[0] == "down_convs" else 4 - int(stage[1])
        name = f"{STAGES.get(stage[0], 'enc{}').format(level)}.{layer}" if stage else "out"
        is_kernel = value.ndim == 4
        kind = "kernel" if is_kernel else NORM[kind] if stage else kind
        found[f"{name}/{kind}"] = value.transpose(2, 3, 1, 0) if is_kernel else value
    return found


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "unet*.npz"))
def test_golden_forward(path):
    data = np.load(path)
    weights = published_weights(data)
    inputs = [name for name in data.files if name.startswith("x_")]
    assert inputs
    shape = weights["enc0.conv1/kernel"].shape
    model = models.build_strided_unet((None, None, shape[2]), len(weights["out/bias"]), width=shape[3])
    set_weights(model, weights)
    for name in inputs:
        found = ops.convert_to_numpy(model(data[name].transpose(0, 2, 3, 1)))
        expected = data[name.replace("x_", "y_", 1)].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_and_places_of_dropout():
    model = models.build_strided_unet((None, None, 3), 2)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == 14_154_706
    drops = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert sorted(drops) == sorted([f"enc{n}.dropout" for n in range(6)] + [f"dec{n}.dropout" for n in range(5)])


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (7, 3)])
def test_doubled_to_the_size_of_the_other_map(size):
    x = np.random.default_rng(0).random((2, -(-size[0] // 2), -(-size[1] // 2), 3)).astype(np.float32)
    expected = x.repeat(2, 1).repeat(2, 2)[:, : size[0], : size[1]]
    np.testing.assert_array_equal(ops.convert_to_numpy(DoubledLike()([x, np.zeros((2, *size, 1))])), expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda: models.build_strided_unet((None, None, 3), 2, width=2, dropout=0.3),
        lambda: models.build_scribble_unet((32, 48, 3), 2, widths=(2, 4), dropout=(0.3, 0.3)),
        lambda: keras.Sequential([keras.Input((32, 48, 3)), keras.layers.Conv2D(2, 3), keras.layers.Dropout(0.5)]),
    ],
)
def test_first_part_and_rest_are_the_whole(build):
    network = models.dropping(build(), seed=3)
    first, rest = models.split_at_dropout(network)
    images = np.random.default_rng(0).random((1, 32, 48, 3)).astype(np.float32)
    states = [variable for variable in network.variables if "seed_generator_state" in variable.path]
    kept = [np.array(state) for state in states]
    maps = first.predict_on_batch(images)
    for number in range(2):
        answers = []
        for ask in (network.predict_on_batch, lambda images: rest.predict_on_batch(maps)):
            for state, value in zip(states, kept, strict=True):
                state.assign(value + number)
            answers.append(ask(images))
        assert np.array_equal(*answers)


def test_nothing_to_split():
    inputs = keras.Input((4, 4, 1))
    assert models.split_at_dropout(keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))) is None
    assert models.split_at_dropout(keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))) is None
    assert models.split_at_dropout(lambda images: images) is None
