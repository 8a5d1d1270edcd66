"""Prediction in chunks. Expected values: the network's own output for all slices at once, softmax by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fewslice.train.predict import padded_batches, predictor, softmax


@pytest.fixture(scope="module")
def network():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(1))(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization()(x))


@pytest.mark.parametrize("depth", [1, 3, 4, 5, 9])
def test_chunks_and_filling_change_nothing(network, depth):
    images = np.random.default_rng(0).random((depth, 8, 8, 1), np.float32)
    probabilities = predictor(network, 4)(images)
    assert probabilities.shape == (depth, 8, 8, 3) and probabilities.dtype == np.float32
    expected = softmax(keras.ops.convert_to_numpy(network(images, training=False)))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


def test_a_slice_does_not_depend_on_its_neighbours(network):
    images = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    predict = predictor(network, 4)
    together = predict(images)
    np.testing.assert_array_equal(predict(images[4:])[0], together[4])


def test_softmax():
    logits = np.array([[0, np.log(3)], [1000, 1000], [-1000, 0]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [0.5, 0.5], [0, 1]], atol=1e-7)
    assert softmax(logits).dtype == np.float32


def test_batches_have_one_shape():
    batches = list(padded_batches((np.full((2, 2, 1), i) for i in range(5)), 2))
    assert [count for _, count in batches] == [2, 2, 1]
    assert all(batch.shape == (2, 2, 2, 1) and batch.dtype == np.float32 for batch, _ in batches)
    np.testing.assert_array_equal(batches[2][0][:, 0, 0, 0], [4, 0])
