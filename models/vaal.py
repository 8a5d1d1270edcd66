"""The networks of VAAL: a variational autoencoder of slices, and a discriminator on what it makes of them.

Five convolutions of 4x4 with stride 2 halve the sides and double the channels; mean and logarithm of the variance of
the latent values are linear in the last map; five transposed convolutions lead back. Layers are called "enc1" ...
"enc5", "mean", "log_variance", "dec0" (linear), "dec1" ... "dec5", and "disc1" ... "disc3".

Reference: Sinha et al., 2019, https://arxiv.org/abs/1904.00370; for medical slices of 256x256: Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.

Notes:
    Initial values are those of the published code: He-normal with biases of 0 for the convolutions, the linear layer of
    the decoder and the discriminator; PyTorch's uniform ones, within 1 / sqrt(fan-in), for the rest. Normalisation:
    `models.layers.PYTORCH`.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from models.layers import PYTORCH, BatchNormalization
from models.scribble_unet import FanInUniform
from models.unet import LayerSeeds, check_at_least_one, check_sides, he_normal

WIDTH = 64
LATENT = 32
DISCRIMINATOR_UNITS = 512
_LEVELS, _KERNEL = 5, 4


@keras.saving.register_keras_serializable("fewslice")
class Sampled(layers.Layer):
    """A latent value drawn by mean + noise * exp(log_variance / 2).

    Input: [mean, log_variance, noise], each (batch, latent). Output: (batch, latent).
    """

    def call(self, inputs):
        mean, log_variance, noise = inputs
        return mean + noise * ops.exp(0.5 * log_variance)


def _normalised(x, name: str, **options):
    """Normalisation (with the bias of the convolution before it) and ReLU."""
    x = BatchNormalization(name=f"{name}.bn", **PYTORCH, **options)(x)
    return layers.ReLU(name=f"{name}.relu")(x)


def _encoded(x, width: int, seeds: LayerSeeds):
    for level in range(1, _LEVELS + 1):
        name = f"enc{level}"
        options = {"strides": 2, "padding": "same", "kernel_initializer": he_normal(seeds(name)), "name": name}
        x = layers.Conv2D(width << (level - 1), _KERNEL, use_bias=level == 1, **options)(x)
        x = layers.ReLU(name=f"{name}.relu")(x) if level == 1 else _normalised(x, name)
    return layers.Flatten(name="flat")(x)


def _decoded(z, shape: tuple[int, int, int], width: int, seeds: LayerSeeds):
    height, breadth, channels = (*(side >> _LEVELS for side in shape[:2]), width << (_LEVELS - 1))
    x = layers.Dense(height * breadth * channels, kernel_initializer=he_normal(seeds("dec0")), name="dec0")(z)
    x = layers.Reshape((height, breadth, channels), name="dec0.map")(x)
    for level in range(1, _LEVELS + 1):
        name, is_last = f"dec{level}", level == _LEVELS
        filters = shape[-1] if is_last else width << (_LEVELS - 1 - level)
        bias = FanInUniform(seeds(f"{name}/bias"), filters * _KERNEL**2)
        options = {"kernel_initializer": FanInUniform(seeds(name), filters * _KERNEL**2), "use_bias": is_last}
        options |= {"bias_initializer": bias if is_last else "zeros", "strides": 2, "padding": "same", "name": name}
        x = layers.Conv2DTranspose(filters, _KERNEL, **options)(x)
        x = x if is_last else _normalised(x, name, bias_initializer=bias)
    return x


def build_vae(
    input_shape: tuple[int, int, int], latent: int = LATENT, *, width: int = WIDTH, seed: int = 0
) -> keras.Model:
    """Builds the autoencoder.

    Args:
        input_shape: (height, width, channels); sides are multiples of 32.
        latent: Latent values.
        width: Channels of the first convolution; 64 is the published network (28 650 049 parameters at 256x256x1).
        seed: Of the initial weights.

    Returns:
        Model [image (batch, height, width, channels), noise (batch, latent)] -> [reconstruction as the image, mean
        (batch, latent), log_variance (batch, latent)]. The noise is standard normal, and an input so that a step is a
        function of what it is given.

    Raises:
        ValueError: sides that are no positive multiples of 32, `latent` or `width` below 1.
    """
    check_sides(input_shape, 1 << _LEVELS)
    check_at_least_one(latent=latent, width=width)
    seeds = LayerSeeds(seed)
    image, noise = keras.Input(input_shape, name="image"), keras.Input((latent,), name="noise")
    x = _encoded(image, width, seeds)
    pair = []
    for name in ("mean", "log_variance"):
        bias = FanInUniform(seeds(f"{name}/bias"), x.shape[-1])
        options = {"kernel_initializer": FanInUniform(seeds(name)), "bias_initializer": bias, "name": name}
        pair.append(layers.Dense(latent, **options)(x))
    sample = Sampled(name="sample")([*pair, noise])
    return keras.Model([image, noise], [_decoded(sample, input_shape, width, seeds), *pair], name="vae")


def mean_part(vae: keras.Model) -> keras.Model:
    """Returns the network image -> mean (batch, latent) of a `build_vae` model, on the same weights."""
    return keras.Model(vae.inputs[0], vae.get_layer("mean").output, name="vae_mean")


def build_discriminator(latent: int = LATENT, *, units: int = DISCRIMINATOR_UNITS, seed: int = 0) -> keras.Model:
    """Builds the discriminator: (batch, latent) -> (batch, 1), before the sigmoid.

    After the sigmoid it is how likely a unit is annotated; 280 065 parameters with the default values.
    """
    seeds = LayerSeeds(seed)
    x = inputs = keras.Input((latent,), name="latent")
    for name, size, activation in (("disc1", units, "relu"), ("disc2", units, "relu"), ("disc3", 1, None)):
        x = layers.Dense(size, activation, kernel_initializer=he_normal(seeds(name)), name=name)(x)
    return keras.Model(inputs, x, name="discriminator")
