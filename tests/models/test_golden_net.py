"""Networks against the published code's outputs for given weights (golden/contrastive/net, spec section 1).

Tolerances are those of the golden README: inference 1e-4, training mode 5e-4, costs 1e-5, moving statistics 1e-6,
gradient norms 0.5 %, the first Adam losses 1e-3 and 5e-3.

The batch leaves 16 values per channel at the coarsest level, so that training mode is ill-conditioned in float32. The
networks are therefore evaluated in float64 where the backend has it, and float32 is compared with float64.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import losses
import models
from models import unet
from models.transfer import named_variables, set_weights
from tests.golden_files import golden, golden_param
from tests.models.published_weights import load, published_name

FORWARD = golden_param("contrastive/net", "forward*.npz")
pytestmark = pytest.mark.usefixtures("double_precision", "zeros_first")
on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses TensorFlow's gradients")


def weights_of(path):
    with np.load(golden(path.parent.parent.name + "/net", "weights.npz")[0]) as archive:
        return dict(archive)


def published_unet(path, image_shape=(64, 64, 1)):
    archive = weights_of(path)
    model = models.build_unet(image_shape, 4)
    set_weights(model, load(archive, named_variables(model), "unet"))
    return model


def by_published_name(model):
    return {published_name(name).removesuffix(":0"): v for name, v in named_variables(model).items()}


def onehot(labels, num_classes=4):
    return np.eye(num_classes, dtype=np.float32)[labels]


@pytest.mark.golden
@pytest.mark.parametrize("path", FORWARD)
def test_unet_logits_and_cost(path):
    data = np.load(path)
    model = published_unet(path)
    dice = losses.Dice(with_background=True)
    for mode, training, tolerance in (("infer", False, 1e-4), ("train", True, 5e-4)):
        logits = ops.convert_to_numpy(model(data["x"], training=training))
        np.testing.assert_allclose(logits, data[f"unet_logits_{mode}"], atol=tolerance)
        cost = float(dice(onehot(data["labels"]), logits))
        assert cost == pytest.approx(float(data[f"unet_cost_{mode}"]), abs=1e-5)
        model = published_unet(path)
    large = published_unet(path, (192, 192, 1))
    image = data["x192_i8_div64"].astype(np.float32)[None, ..., None] / 64
    np.testing.assert_allclose(
        ops.convert_to_numpy(large(image))[:, ::4, ::4], data["unet_logits_infer_192"], atol=1e-4
    )


@pytest.mark.golden
@pytest.mark.parametrize("path", FORWARD)
def test_moving_statistics_after_one_training_pass(path):
    data = np.load(path)
    model = published_unet(path)
    model(data["x"], training=True)
    ours = by_published_name(model)
    values = [ops.convert_to_numpy(ours[str(name).removesuffix(":0")]) for name in data["unet_ema_names"]]
    np.testing.assert_allclose(np.concatenate(values), data["unet_ema_after_1_train_forward"], atol=1e-6, rtol=1e-5)


@on_tensorflow
@pytest.mark.golden
@pytest.mark.parametrize("path", FORWARD)
def test_gradient_norms(path):
    import tensorflow as tf

    data = np.load(path)
    model = published_unet(path)
    variables = by_published_name(model)
    with tf.GradientTape() as tape:
        cost = losses.Dice(with_background=True)(onehot(data["labels"]), model(data["x"], training=True))
    names = [str(name).removesuffix(":0") for name in data["unet_grad_names"]]
    assert len(names) == 113
    gradients = tape.gradient(cost, [variables[name].value for name in names])
    for name, gradient, norm in zip(names, gradients, data["unet_grad_norm"], strict=True):
        if name.endswith("/b"):
            assert not np.any(gradient), "a bias before batch normalisation has gradient zero"
        else:
            assert float(tf.norm(gradient)) == pytest.approx(float(norm), rel=5e-3), name


@pytest.mark.golden
@pytest.mark.parametrize("path", FORWARD)
def test_four_adam_steps(path):
    data = np.load(path)
    model = published_unet(path)
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    is_eager = keras.backend.backend() == "tensorflow"  # compiling takes longer than four steps
    model.compile(optimizer, loss=losses.Dice(with_background=True), run_eagerly=is_eager)
    target = onehot(data["labels"])
    costs = [float(model.train_on_batch(data["x"], target)) for _ in range(4)]
    published = data["unet_adam_losses_4steps_lr1e-3"]
    np.testing.assert_allclose(costs[0], published[0], atol=1e-5)
    np.testing.assert_allclose(costs[1], published[1], atol=1e-3)
    np.testing.assert_allclose(costs, published, atol=5e-3)
    final = float(losses.Dice(with_background=True)(target, model(data["x"], training=False)))
    assert final == pytest.approx(float(data["unet_cost_infer_after_4steps"]), abs=0.02)


@pytest.mark.golden
@pytest.mark.parametrize("path", FORWARD)
def test_global_head(path):
    data = np.load(path)
    archive = weights_of(path)
    model = models.build_global_net((64, 64, 1))
    for mode, training, tolerance in (("infer", False, 1e-4), ("train", True, 5e-4)):
        set_weights(model, load(archive, named_variables(model), "g1"))
        z = ops.convert_to_numpy(model(data["x"], training=training))
        np.testing.assert_allclose(z, data[f"g1_pred_{mode}"], atol=tolerance)


@pytest.mark.golden
@pytest.mark.parametrize("blocks", range(1, 6))
@pytest.mark.parametrize("path", FORWARD)
def test_local_head(path, blocks):
    data = np.load(path)
    archive = weights_of(path)
    inputs = keras.Input((64, 64, 1))
    model = keras.Model(inputs, unet.local_map(inputs, blocks))
    step = (1, 1, 2, 4, 8)[blocks - 1]
    for mode, training, tolerance in (("infer", False, 1e-4), ("train", True, 5e-4)):
        set_weights(model, load(archive, named_variables(model), f"g2_blocks{blocks}"))
        maps = ops.convert_to_numpy(model(data["x"], training=training))
        assert maps.shape == tuple(data[f"g2_blocks{blocks}_shape"])
        np.testing.assert_allclose(maps[:, ::step, ::step], data[f"g2_blocks{blocks}_{mode}"], atol=tolerance)


@pytest.mark.golden
@pytest.mark.parametrize("path", FORWARD)
def test_float32_kernels_stay_near_float64(path):
    data = np.load(path)
    exact = ops.convert_to_numpy(published_unet(path)(data["x"], training=True))
    keras.config.set_dtype_policy("float32")
    logits = ops.convert_to_numpy(published_unet(path)(data["x"], training=True))
    assert np.abs(logits - exact).max() < 3e-3
    assert np.sqrt(np.mean((logits - exact) ** 2)) < 3e-4
