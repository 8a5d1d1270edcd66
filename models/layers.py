"""Layers that the networks share.

`BatchNormalization` takes TensorFlow's fused kernel where TensorFlow is the backend (the only place of this
package that imports it; `benchmarks/README.md` says what it brings) and plain `keras.ops` elsewhere.
`tests/models/test_layers.py` compares both.
"""

from __future__ import annotations

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None

# Normalisation of the networks that were published in PyTorch, but for the moving variance, which is divided by n, not
# by n - 1.
PYTORCH = {"momentum": 0.9, "epsilon": 1e-5}


def _has_kernel(inputs) -> bool:
    """Whether TensorFlow's fused batch normalisation takes these inputs (it has no float64)."""
    return tf is not None and keras.backend.standardize_dtype(inputs.dtype) != "float64"


@keras.saving.register_keras_serializable("fewslice")
class BatchNormalization(keras.layers.Layer):
    """Batch normalisation over (batch, height, width), with the bias of the convolution before it.

    A bias in front of batch normalisation cancels: in training mode it changes nothing but the moving mean. Adding it
    costs a pass over the largest tensors of the network all the same, so it lives here and enters where it matters. Its
    gradient is exactly zero.

    Args:
        use_bias: Whether the convolution before has a bias.
        momentum: Decay of the moving statistics.
        epsilon: Added to the variance.
        bias_initializer: For that bias.

    Call arguments: `inputs`; `training`; `update_statistics`, False leaves the moving statistics alone in training, for
    images that are unlike those of inference.

    Input and output: (batch, height, width, channel), any float dtype. Statistics and variables are float32 (float64
    under a float64 policy). The variance is that of the population (divided by n).

    Notes:
        The moving variance starts at 1 as in Keras; the published code started it at 0.
    """

    def __init__(self, use_bias=True, momentum=0.99, epsilon=1e-3, bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.momentum = momentum
        self.epsilon = epsilon
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        dtype = "float64" if self.compute_dtype == "float64" else "float32"

        def weight(name, initializer, trainable=True):
            options = {"dtype": dtype, "autocast": False, "trainable": trainable, "aggregation": "mean"}
            return self.add_weight(shape=(input_shape[-1],), initializer=initializer, name=name, **options)

        self.bias = weight("bias", self.bias_initializer) if self.use_bias else None
        self.beta = weight("beta", "zeros")
        self.gamma = weight("gamma", "ones")
        self.moving_mean = weight("moving_mean", "zeros", trainable=False)
        self.moving_variance = weight("moving_variance", "ones", trainable=False)

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, inputs, training=False, update_statistics=True):
        bias = 0.0 if self.bias is None else ops.convert_to_tensor(self.bias)
        gamma = ops.convert_to_tensor(self.gamma)
        offset = ops.convert_to_tensor(self.beta) + 0.0 * bias  # keeps the bias in the graph, with gradient 0
        if not training:
            mean = ops.convert_to_tensor(self.moving_mean) - bias
            return self._normalise(inputs, gamma, offset, mean, ops.convert_to_tensor(self.moving_variance))
        outputs, mean, variance = self._normalise_batch(inputs, gamma, offset)
        if not update_statistics:
            return outputs
        rate = 1.0 - self.momentum
        moving_mean, moving_variance = ops.copy(self.moving_mean), ops.copy(self.moving_variance)
        self.moving_mean.assign(moving_mean + rate * (ops.stop_gradient(mean + bias) - moving_mean))
        self.moving_variance.assign(moving_variance + rate * (ops.stop_gradient(variance) - moving_variance))
        return outputs

    def _kernel(self, inputs, gamma, offset, mean, variance, is_training):
        statistics = {"mean": mean, "variance": variance, "epsilon": self.epsilon, "is_training": is_training}
        return tf.raw_ops.FusedBatchNormV3(x=inputs, scale=gamma, offset=offset, **statistics)

    def _normalise_batch(self, inputs, gamma, offset):
        if _has_kernel(inputs):
            outputs, mean, variance, *_ = self._kernel(inputs, gamma, offset, tf.zeros([0]), tf.zeros([0]), True)
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), "float32")
            return outputs, mean, variance * ((count - 1.0) / count)  # the kernel's variance is divided by n - 1
        mean, variance = ops.moments(ops.cast(inputs, gamma.dtype), axes=(0, 1, 2))
        return self._normalise(inputs, gamma, offset, mean, variance), mean, variance

    def _normalise(self, inputs, gamma, offset, mean, variance):
        if _has_kernel(inputs):
            return self._kernel(inputs, gamma, offset, mean, variance, False)[0]
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        return ops.cast(ops.cast(inputs, gamma.dtype) * scale + (offset - mean * scale), inputs.dtype)

    def get_config(self):
        config = {"use_bias": self.use_bias, "momentum": self.momentum, "epsilon": self.epsilon}
        initializer = keras.initializers.serialize(self.bias_initializer)
        return {**super().get_config(), **config, "bias_initializer": initializer}


@keras.saving.register_keras_serializable("fewslice")
class UpsampledConv2D(keras.layers.Layer):
    """Doubles height and width (nearest neighbour), then a 2x2 convolution with zero padding below and to the right.

    Computed without the doubled image: every output pixel sees at most 2x2 source pixels, so that the pair equals one
    transposed convolution of stride 2 with a 3x3 kernel, whose taps are sums of the 2x2 kernel's.
    It has 9/16 of the multiplications and is 2 to 3 times faster.

    Args:
        filters: Output channels.
        kernel_initializer: For the 2x2 kernel (2, 2, input channels, filters).

    Input: (batch, height, width, channel). Output: (batch, 2 height, 2 width, filters). No bias.
    """

    def __init__(self, filters, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(2, 2, input_shape[-1], self.filters), initializer=self.kernel_initializer, name="kernel"
        )

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height and 2 * height, width and 2 * width, self.filters)

    def call(self, inputs):
        kernel = ops.convert_to_tensor(self.kernel)  # (2, 2, in, out)
        rows = ops.stack([kernel[0], kernel[0] + kernel[1], kernel[1]])  # (3, 2, in, out)
        taps = ops.stack([rows[:, 0], rows[:, 0] + rows[:, 1], rows[:, 1]], axis=1)  # (3, 3, in, out)
        taps = ops.transpose(taps, (0, 1, 3, 2))
        # Transposed convolution pads at the end, this pair at the start: turn the image round and back.
        turned = ops.conv_transpose(ops.flip(inputs, (1, 2)), taps, strides=2, padding="same")
        return ops.flip(turned, (1, 2))

    def get_config(self):
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "filters": self.filters, "kernel_initializer": initializer}


@keras.saving.register_keras_serializable("fewslice")
class DoubledLike(keras.layers.Layer):
    """Resizes a map (nearest neighbour) to the size of the one from which a convolution of stride 2 made it.

    Inputs: (batch, ceil(H / 2), ceil(W / 2), channel) and (batch, H, W, any). Output: (batch, H, W, channel).
    """

    def compute_output_shape(self, input_shape):
        (batch, *_, channels), like = input_shape
        return (batch, *like[1:3], channels)

    def call(self, inputs):
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)[:, :height, :width]


@keras.saving.register_keras_serializable("fewslice")
class RegionVectors(keras.layers.Layer):
    """Reads square regions of a feature map as embeddings.

    Args:
        positions: Corner (row, column) of each region, U pairs.
        region_size: Side of the regions in pixels of the map (1 or 3).

    Input: (batch, height, width, C). Output: (batch, U, region_size^2 * C): each region flattened row by row, the
    channel fastest.

    Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.2.
    """

    def __init__(self, positions, region_size, **kwargs):
        super().__init__(**kwargs)
        self.positions = [[int(row), int(column)] for row, column in positions]
        self.region_size = int(region_size)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.positions), self.region_size**2 * input_shape[-1])

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        size = range(self.region_size)
        pixels = [(row + i) * width + column + j for row, column in self.positions for i in size for j in size]
        flat = ops.reshape(inputs, (-1, height * width, channels))
        embeddings = ops.take(flat, ops.convert_to_tensor(pixels, "int32"), axis=1)
        return ops.reshape(embeddings, (-1, len(self.positions), self.region_size**2 * channels))

    def get_config(self):
        return {**super().get_config(), "positions": self.positions, "region_size": self.region_size}
