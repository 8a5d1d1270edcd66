"""Networks of Keras' own layers alone, equal to ours, which any program with Keras can load."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from models.layers import BatchNormalization, DoubledLike, UpsampledConv2D
from models.scribble_unet import CornerUpsampling2D


def standard_network(model: keras.Model) -> keras.Model:
    """Returns a network with the inference of `model`, with copies of its weights, without dropout.

    Raises:
        ValueError: it has a layer of somebody else's, such as a plugin's.
    """

    def call(layer, *args, **kwargs):
        x, name = args[0], layer.name
        if isinstance(layer, layers.Dropout):
            return x
        if isinstance(layer, DoubledLike):
            return _doubled_like(*x)
        if isinstance(layer, BatchNormalization):
            bias = 0.0 if layer.bias is None else np.asarray(layer.bias)
            made = layers.BatchNormalization(epsilon=layer.epsilon, momentum=layer.momentum, name=name)
            weights = [layer.gamma, layer.beta, np.asarray(layer.moving_mean) - bias, layer.moving_variance]
        elif isinstance(layer, UpsampledConv2D):
            x = layers.UpSampling2D(2, name=f"{name}.enlarge")(x)
            x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}.pad")(x)
            made, weights = layers.Conv2D(layer.filters, 2, use_bias=False, name=name), [layer.kernel]
        elif isinstance(layer, CornerUpsampling2D):
            _, height, width, channels = x.shape
            x = _product(x, "bhwc,hr->brwc", (2 * height, width, channels), _doubling(height), f"{name}.rows")
            return _product(x, "bhwc,wr->bhrc", (2 * height, 2 * width, channels), _doubling(width), f"{name}.columns")
        elif type(layer).__module__.startswith("keras."):
            config = layer.get_config()  # initialisers may be ours, and the weights are there
            made = type(layer).from_config({key: config[key] for key in config if not key.endswith("_initializer")})
            x, weights = made(*args, **kwargs), layer.weights
            made.set_weights([np.asarray(weight) for weight in weights])
            return x
        else:
            raise ValueError(f"The layer {name!r} is none of Keras' own, but of {type(layer).__module__}.")
        x = made(x)
        made.set_weights([np.asarray(weight) for weight in weights])
        return x

    clone = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(clone.inputs[0], clone.outputs[0], name=model.name)


def _doubled_like(x, like):
    """Returns `DoubledLike` by Keras' operations, since none of its layers takes its size from another map."""
    for axis, line in ((1, like[0, :, 0, 0]), (2, like[0, 0, :, 0])):
        places = ops.cumsum(ops.ones_like(line, dtype="int32")) - 1
        x = ops.take(x, places // 2, axis=axis)
    return x


def _product(x, equation: str, shape: tuple[int, ...], matrix: np.ndarray, name: str):
    made = layers.EinsumDense(equation, shape, name=name)
    x = made(x)
    made.set_weights([matrix])
    return x


def _doubling(size: int) -> np.ndarray:
    """Returns the (size, 2 size) float32 matrix of `CornerUpsampling2D` along an axis."""
    position = np.arange(2 * size) * (size - 1) / (2 * size - 1)
    return np.maximum(0, 1 - abs(position - np.arange(size)[:, np.newaxis])).astype(np.float32)
