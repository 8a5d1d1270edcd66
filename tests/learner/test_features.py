"""Features and gradients of a pool. Expected values: by hand, a loop over pixels, and the backend's own gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.learner.features import gradient_embeddings, kernel_gradients, network_features
from models.scribble_unet import build_scribble_unet, encoder_maps, main_branch
from tests.backend import value_and_grad


@pytest.fixture(scope="module", name="model")
def _model():
    return build_scribble_unet((8, 8, 1), 3, branches=2, widths=(2, 4), dropout=(0.1, 0.1))


@pytest.fixture(scope="module", name="images")
def _images():
    return np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)


def test_maps_become_rows(model, images, tmp_path):
    maps = encoder_maps(model, 1)
    values = np.asarray(maps.predict_on_batch(images), np.float32)
    found = network_features(maps, images, path=tmp_path / "maps.npy", batch_size=2)
    assert isinstance(found, np.memmap) and found.dtype == np.float16
    np.testing.assert_allclose(found, values.reshape(5, 4 * 4 * 4), atol=2e-3)
    pooled = network_features(maps, images, path=tmp_path / "pooled.npy", reduce=lambda maps: maps.mean(axis=(1, 2)))
    np.testing.assert_allclose(pooled, values.mean(axis=(1, 2)), atol=2e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.npy", "pooled.npy"]


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 3)])
def test_gradient_is_that_of_the_mean_cross_entropy(size):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2, 4, 5, 2)).astype(np.float32)
    kernel = rng.normal(size=(*size, 2, 3)).astype(np.float32)

    def convolved(weights, image):
        return keras.ops.conv(image[None], weights, padding="same")[0]

    for image in features:
        logits = keras.ops.convert_to_numpy(convolved(kernel, image))
        labels = np.eye(3, dtype=np.float32)[logits.argmax(axis=-1)]

        def loss(weights, image=image, labels=labels):
            return -keras.ops.mean(keras.ops.sum(labels * keras.ops.log_softmax(convolved(weights, image)), axis=-1))

        _, (expected,) = value_and_grad(loss, kernel)
        found = kernel_gradients(image[None], logits[None], size)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gradient_embeddings_of_the_segmentation_network(model, images, tmp_path):
    main = main_branch(model)
    found = gradient_embeddings(main, images, path=tmp_path / "g.npy", batch_size=2)
    assert found.shape == (5, 3 * 3 * 2 * 3) and found.dtype == np.float32
    ahead = keras.Model(main.inputs[0], model.get_layer("main.out").input)
    features, logits = (np.asarray(part.predict_on_batch(images), np.float32) for part in (ahead, main))
    np.testing.assert_allclose(found, kernel_gradients(features, logits, (3, 3)).reshape(5, -1), rtol=1e-4, atol=1e-7)


def test_mistakes(model, images, tmp_path):
    path = tmp_path / "x.npy"
    main = main_branch(model)
    with pytest.raises(ConfigError, match="straight out of a convolution.*of Concatenate"):
        gradient_embeddings(model, images, path=path)
    with pytest.raises(FewSliceError, match="unit 2 of the pool are not finite in float16"):
        bad = images.copy()
        bad[2] = 1e9
        network_features(main, bad, path=path)
    assert list(tmp_path.iterdir()) == []
