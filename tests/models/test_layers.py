"""Layers against their plain Keras counterparts and against values worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from models.layers import BatchNormalization, RegionVectors, UpsampledConv2D
from tests.backend import value_and_grad
from tests.models.networks import number

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((3, 6, 4, 5)).astype(np.float32)
KERNEL = RNG.standard_normal((3, 3, 5, 7)).astype(np.float32)
BIAS, BETA, GAMMA = RNG.standard_normal((3, 7)).astype(np.float32)


def ours(dtype=None, **options):
    inputs = keras.Input((6, 4, 5), dtype="float32")
    x = layers.Conv2D(7, 3, padding="same", use_bias=False, name="conv", dtype=dtype)(inputs)
    model = keras.Model(inputs, BatchNormalization(name="bn", dtype=dtype, **options)(x))
    model.get_layer("conv").set_weights([KERNEL])
    norm = model.get_layer("bn")
    norm.beta.assign(BETA)
    norm.gamma.assign(GAMMA)
    if norm.bias is not None:
        norm.bias.assign(BIAS)
    return model, norm


def plain(use_bias=True):
    inputs = keras.Input((6, 4, 5))
    x = layers.Conv2D(7, 3, padding="same", use_bias=use_bias, name="conv")(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(name="bn")(x))
    model.get_layer("conv").set_weights([KERNEL, BIAS] if use_bias else [KERNEL])
    norm = model.get_layer("bn")
    norm.beta.assign(BETA)
    norm.gamma.assign(GAMMA)
    return model, norm


@pytest.mark.parametrize("use_bias", [True, False])
def test_batch_normalisation_equals_biased_convolution_and_keras(use_bias):
    (one, norm), (other, reference) = ours(use_bias=use_bias), plain(use_bias)
    for _ in range(3):
        expected = number(other(IMAGES, training=True))
        np.testing.assert_allclose(number(one(IMAGES, training=True)), expected, atol=2e-5)
        np.testing.assert_allclose(number(norm.moving_mean), number(reference.moving_mean), atol=1e-6)
        np.testing.assert_allclose(number(norm.moving_variance), number(reference.moving_variance), rtol=1e-5)
    np.testing.assert_allclose(number(one(IMAGES)), number(other(IMAGES)), atol=2e-5)


def test_population_variance():
    norm = BatchNormalization()
    x = np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1)
    norm(x, training=True)
    assert number(norm.moving_variance)[0] == pytest.approx(0.99 + 0.01 * x.var(), rel=1e-6)
    assert number(norm.moving_mean)[0] == pytest.approx(0.01 * x.mean(), rel=1e-6)


def test_gradients_equal_those_of_keras():
    (one, norm), (other, reference) = ours(), plain()
    weights = RNG.standard_normal((3, 6, 4, 7)).astype(np.float32)

    def loss_of(model, layer, training):
        non_trainable = [ops.copy(v) for v in model.non_trainable_variables]

        def loss(images, beta, gamma):
            moving = zip(model.non_trainable_variables, non_trainable, strict=True)
            with keras.StatelessScope(state_mapping=[(layer.beta, beta), (layer.gamma, gamma), *moving]):
                return ops.sum(ops.sin(model(images, training=training)) * weights)

        return loss

    for training in (True, False):
        value, grads = value_and_grad(loss_of(one, norm, training), IMAGES, BETA, GAMMA)
        expected, references = value_and_grad(loss_of(other, reference, training), IMAGES, BETA, GAMMA)
        assert value == pytest.approx(expected, rel=1e-4)
        for grad, wanted in zip(grads, references, strict=True):
            np.testing.assert_allclose(grad, wanted, atol=2e-3 * np.abs(wanted).max())


def test_bias_before_normalisation_has_gradient_zero():
    model, norm = ours()

    def loss(bias):
        with keras.StatelessScope(state_mapping=[(norm.bias, bias)]):
            return ops.sum(ops.sin(model(IMAGES, training=True)))

    assert not np.any(value_and_grad(loss, BIAS)[1][0])


def test_batch_normalisation_in_bfloat16_stays_near_float32():
    one, norm = ours(dtype="mixed_bfloat16")
    exact, reference = ours()
    out = one(IMAGES, training=True)
    assert keras.backend.standardize_dtype(out.dtype) == "bfloat16"
    assert {v.dtype for v in norm.variables} == {"float32"}
    np.testing.assert_allclose(number(ops.cast(out, "float32")), number(exact(IMAGES, training=True)), atol=0.1)
    np.testing.assert_allclose(number(norm.moving_mean), number(reference.moving_mean), atol=5e-4)
    np.testing.assert_allclose(number(norm.moving_variance), number(reference.moving_variance), rtol=5e-3)


@pytest.mark.parametrize(("height", "width", "channels", "filters"), [(1, 1, 1, 1), (3, 5, 2, 4), (6, 4, 5, 3)])
def test_upsampled_convolution_equals_the_pair(height, width, channels, filters):
    rng = np.random.default_rng(height)
    kernel = rng.standard_normal((2, 2, channels, filters)).astype(np.float32)
    images = rng.standard_normal((2, height, width, channels)).astype(np.float32)
    inputs = keras.Input((height, width, channels))
    pair = keras.Model(
        inputs,
        layers.Conv2D(filters, 2, padding="same", use_bias=False)(layers.UpSampling2D(2)(inputs)),
    )
    pair.set_weights([kernel])
    layer = UpsampledConv2D(filters)
    assert layer.compute_output_shape(images.shape) == (2, 2 * height, 2 * width, filters)
    layer.build(images.shape)
    layer.kernel.assign(kernel)
    np.testing.assert_allclose(number(layer(images)), number(pair(images)), atol=2e-5)

    def loss_of(call, variable):
        def loss(x, k):
            with keras.StatelessScope(state_mapping=[(variable, k)]):
                return ops.sum(ops.sin(call(x)))

        return loss

    mine = value_and_grad(loss_of(layer, layer.kernel), images, kernel)[1]
    for grad, wanted in zip(mine, value_and_grad(loss_of(pair, pair.weights[0]), images, kernel)[1], strict=True):
        np.testing.assert_allclose(grad, wanted, atol=1e-4)


def test_region_vectors_by_hand():
    maps = np.arange(2 * 4 * 5 * 2, dtype=np.float32).reshape(2, 4, 5, 2)
    layer = RegionVectors([(0, 0), (1, 2)], 3)
    out = number(layer(maps))
    assert out.shape == layer.compute_output_shape(maps.shape) == (2, 2, 18)
    np.testing.assert_array_equal(out[1, 0], maps[1, 0:3, 0:3].reshape(-1))
    np.testing.assert_array_equal(out[0, 1], maps[0, 1:4, 2:5].reshape(-1))
    single = number(RegionVectors(np.array([[3, 4], [0, 1]]), 1)(maps))
    np.testing.assert_array_equal(single, np.stack([maps[:, 3, 4], maps[:, 0, 1]], axis=1))


@pytest.mark.parametrize(
    "layer",
    [BatchNormalization(use_bias=False), UpsampledConv2D(3), RegionVectors([[0, 0]], 1)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_can_be_made_from_their_configuration(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert number(again(IMAGES)).shape == number(layer(IMAGES)).shape
