"""Features and gradients of a pool. Expected values: by hand, a loop over pixels, and the backend's own gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.learner.features import KINDS, gradient_embeddings, kernel_gradients, network_features
from fewslice.train.predict import softmax
from models.scribble_unet import build_scribble_unet, encoder_maps, main_branch
from tests.backend import value_and_grad


@pytest.fixture(scope="module", name="model")
def _model():
    return build_scribble_unet((8, 8, 1), 3, branches=2, widths=(2, 4), dropout=(0.1, 0.1))


@pytest.fixture(scope="module", name="images")
def _images():
    return np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)


def test_kinds(model, images, tmp_path):
    main, maps = main_branch(model), encoder_maps(model, 1)
    networks = {"predictions": main, "encoder_map": maps, "pooled": maps}
    values = {kind: np.asarray(networks[kind].predict_on_batch(images), np.float32) for kind in KINDS}
    expected = {
        "predictions": softmax(values["predictions"]).reshape(5, 8 * 8 * 3),
        "encoder_map": values["encoder_map"].reshape(5, 4 * 4 * 4),
        "pooled": values["pooled"].mean(axis=(1, 2)),
    }
    for kind in KINDS:
        path = tmp_path / f"{kind}.npy"
        found = network_features(networks[kind], images, kind, path=path, batch_size=2, dtype="float32")
        assert isinstance(found, np.memmap)
        np.testing.assert_allclose(found, expected[kind], rtol=1e-5, atol=1e-6)
    half = network_features(maps, images, "pooled", path=tmp_path / "half.npy")
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, expected["pooled"], atol=2e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "encoder_map.npy",
        "half.npy",
        "pooled.npy",
        "predictions.npy",
    ]


def test_gradient_by_hand():
    # two pixels, one feature: p = (0.9, 0.1) and (0.1, 0.9); p - onehot(argmax) = (-0.1, 0.1) and (0.1, -0.1)
    logits = np.log([[[[9.0, 1.0], [1.0, 9.0]]]]).astype(np.float32)
    features = np.array([[[[2.0], [6.0]]]], np.float32)
    found = kernel_gradients(features, logits, (1, 1))
    np.testing.assert_allclose(found[0, 0, 0, 0], [(-0.2 + 0.6) / 2, (0.2 - 0.6) / 2], rtol=1e-5)


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
    with pytest.raises(ConfigError, match="Did you mean 'pooled'"):
        network_features(main, images, "poled", path=path)
    with pytest.raises(ConfigError, match="Did you mean 'float16'"):
        network_features(main, images, "pooled", path=path, dtype="float61")
    with pytest.raises(ConfigError, match="holds no unit"):
        network_features(main, images[:0], "pooled", path=path)
    with pytest.raises(ConfigError, match="must end in .npy"):
        network_features(main, images, "pooled", path=tmp_path / "x.npz")
    with pytest.raises(ConfigError, match="straight out of a convolution.*of Concatenate"):
        gradient_embeddings(model, images, path=path)
    with pytest.raises(FewSliceError, match="unit 2 of the pool are not finite in float16"):
        bad = images.copy()
        bad[2] = 1e9
        network_features(main, bad, "encoder_map", path=path)
    assert list(tmp_path.iterdir()) == []
