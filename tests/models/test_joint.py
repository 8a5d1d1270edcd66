"""The joint network: numbers of parameters, who sees which rows, training, weights by name.

Expected values: spec sections 1.5 and 1.6, and the U-Net of `build_unet`.
"""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

import losses
import models
from losses.pixel_contrastive import PixelContrastive, pixel_targets
from models.joint import Rows
from models.transfer import named_variables, read_weights
from tests.models.networks import size

SHAPE = (32, 32, 1)


def images(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, *SHAPE)).astype(np.float32)


def values(outputs):
    return {name: ops.convert_to_numpy(ops.cast(output, "float32")) for name, output in outputs.items()}


def batch(num_labelled=2, num_pairs=2, num_classes=4):
    """Images, and the targets of both losses."""
    rng = np.random.default_rng(1)
    labels = rng.integers(num_classes, size=(num_labelled + 2 * num_pairs, 32, 32))
    positions = [[np.argwhere(image == c)[:3] for c in range(1, num_classes)] for image in labels[num_labelled:]]
    valid = np.ones((2 * num_pairs, num_classes - 1, 3), bool)
    targets = {
        "logits": np.eye(num_classes, dtype=np.float32)[labels[:num_labelled]],
        "embeddings": pixel_targets(labels[num_labelled:], np.array(positions), valid),
    }
    return images(len(labels)), targets


def compiled(model):
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss={"logits": losses.Dice(with_background=True), "embeddings": PixelContrastive(1, 4)},
        loss_weights={"logits": 1.0, "embeddings": 0.1},
        run_eagerly=True,  # compiling takes longer than so few steps
    )
    return model


@pytest.mark.parametrize(("num_classes", "expected"), [(4, 2_096_304), (8, 2_096_880)])
def test_counts(num_classes, expected):
    model = models.build_joint_net((160, 160, 1), num_classes)
    assert size(model.trainable_variables) == expected
    assert len(model.trainable_variables) == 117
    assert size(model.non_trainable_variables) == 4_256
    shapes = {name: output.shape for name, output in model.output.items()}
    assert shapes == {"logits": (None, 160, 160, num_classes), "embeddings": (None, 160, 160, 16)}


@pytest.mark.usefixtures("small_unet")
def test_same_start_and_names_as_the_unet():
    joint, unet = (read_weights(build(SHAPE, 4, seed=3)) for build in (models.build_joint_net, models.build_unet))
    assert all(np.array_equal(joint[name], unet[name]) for name in unet)
    head = {name.split("/")[0] for name in joint.keys() - unet.keys()}
    assert head == {"cont_c1_a", "cont_c1_a_bn", "cont_c1_b"}
    assert joint["cont_c1_a/kernel"].shape == joint["cont_c1_b/kernel"].shape == (1, 1, 16, 16)


@pytest.mark.usefixtures("small_unet")
def test_inference_gives_all_rows_both():
    model = models.build_joint_net(SHAPE, 4, num_labelled=2)
    whole = models.both_heads(model)
    outputs = values(whole(images(5), training=False))
    assert outputs["logits"].shape == (5, 32, 32, 4) and outputs["embeddings"].shape == (5, 32, 32, 16)
    alone = values(whole(images(5)[4:]))
    np.testing.assert_allclose(alone["logits"], outputs["logits"][4:], atol=1e-5)
    part = models.segmentation_part(model)
    np.testing.assert_allclose(ops.convert_to_numpy(part(images(5))), outputs["logits"], atol=1e-5)
    assert set(named_variables(part)) == set(named_variables(models.build_unet(SHAPE, 4)))
    assert set(named_variables(whole)) == set(named_variables(model))


@pytest.mark.usefixtures("small_unet")
def test_training_routes_the_rows():
    model = models.build_joint_net(SHAPE, 4, num_labelled=2)
    twin = models.build_joint_net(SHAPE, 4, num_labelled=2)
    routed = values(model(images(6), training=True))
    assert routed["logits"].shape[0] == 2 and routed["embeddings"].shape[0] == 4
    # The U-Net alone gives the same logits for all six rows: the segmentation head normalises over all of them.
    unet = models.build_unet(SHAPE, 4)
    models.set_weights(unet, {name: read_weights(twin)[name] for name in named_variables(unet)})
    logits = ops.convert_to_numpy(unet(images(6), training=True))
    np.testing.assert_allclose(routed["logits"], logits[:2], atol=1e-3)
    # Head h_phi normalises over its four rows alone, here by hand.
    features = keras.Model(unet.input, unet.get_layer("dec_c1_a_relu").output)(images(6), training=True)
    weights = read_weights(twin)
    x = ops.convert_to_numpy(features)[2:].astype(np.float64) @ weights["cont_c1_a/kernel"][0, 0]
    mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    x = np.maximum((x - mean) / np.sqrt(variance + 1e-3), 0) @ weights["cont_c1_b/kernel"][0, 0]
    np.testing.assert_allclose(routed["embeddings"], x, atol=1e-2)
    after = read_weights(model)
    np.testing.assert_allclose(after["cont_c1_a_bn/moving_mean"], 0.01 * mean, atol=1e-4)
    np.testing.assert_allclose(after["cont_c1_a_bn/moving_variance"], 0.99 + 0.01 * variance, atol=1e-4)


@pytest.mark.usefixtures("small_unet")
def test_a_step_moves_the_statistics_once_and_learns():
    model = compiled(models.build_joint_net(SHAPE, 4, num_labelled=2))
    before = read_weights(model)
    once = models.build_joint_net(SHAPE, 4, num_labelled=2)
    once(batch()[0], training=True)
    first = model.train_on_batch(*batch(), return_dict=True)
    expected, after = read_weights(once), read_weights(model)
    moving = [name for name in after if "/moving_" in name]
    assert sum(after[name].size for name in moving) == 2 * 14 * 16
    for name in moving:
        np.testing.assert_allclose(after[name], expected[name], atol=1e-3, err_msg=name)
        assert not np.array_equal(after[name], before[name]), name
    still = {name for name in after if np.array_equal(after[name], before[name])}
    assert still == {name for name in after if name.endswith("_bn/bias")}, "all but biases before normalisation learn"
    assert first["loss"] == pytest.approx(first["logits_loss"] + 0.1 * first["embeddings_loss"], rel=1e-4)
    model.reset_metrics()
    assert model.train_on_batch(*batch(), return_dict=True)["loss"] < first["loss"]


@pytest.mark.usefixtures("small_unet")
def test_step_in_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = compiled(models.build_joint_net(SHAPE, 4, num_labelled=2))
        x, y = batch()
        assert all("bfloat16" in str(output.dtype) for output in model(x).values())
        costs = model.train_on_batch(x, y)  # the total first
    finally:
        keras.config.set_dtype_policy(before)
    weights = read_weights(model)
    assert np.all(np.isfinite(costs)) and all(np.all(np.isfinite(values)) for values in weights.values())
    assert all(values.dtype == np.float32 for values in weights.values())


@pytest.mark.usefixtures("small_unet")
def test_saved_and_loaded(tmp_path):
    model = models.build_joint_net(SHAPE, 3, num_labelled=2)
    model.save(tmp_path / "joint.keras")
    copy = keras.models.load_model(tmp_path / "joint.keras")
    for training in (False, True):
        expected, loaded = values(model(images(4), training=training)), values(copy(images(4), training=training))
        assert all(np.allclose(loaded[name], expected[name], atol=1e-5) for name in expected)
    config = json.loads(json.dumps(Rows(1, 3, name="rows").get_config()))
    assert Rows.from_config(config).get_config() == config


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`num_labelled` must be at least 1. Received: num_labelled=0"):
        models.build_joint_net(SHAPE, 4, num_labelled=0)
    with pytest.raises(ValueError, match="multiples of 32"):
        models.build_joint_net((40, 40, 1), 4)
    model = models.build_joint_net(SHAPE, 4, num_labelled=2)
    with pytest.raises(ValueError, match="A batch must have 3 rows or more for 'cont_rows'. Received: 2"):
        model(images(2), training=True)
