"""Copying weights by name, and freezing. Expected values: arrays made here, and the network before and after a step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import models
from models.layers import BatchNormalization
from models.transfer import copy_by_name, freeze, named_variables, read_weights, set_weights


def small(units=2, name="small"):
    inputs = keras.Input((3,))
    x = layers.Dense(4, name="enc_a")(inputs)
    return keras.Model(inputs, layers.Dense(units, use_bias=False, name="seg_b")(x), name=name)


def test_report_of_everything():
    model = small()
    before = read_weights(model)
    source = {
        "enc_a/kernel": np.full((3, 4), 2.0, np.float32),
        "seg_b/kernel": np.zeros((4, 7), np.float32),
        "other/kernel": np.zeros(1, np.float32),
    }
    report = copy_by_name(model, source)
    assert report.copied == ("enc_a/kernel",)
    assert report.missing == ("enc_a/bias",)
    assert report.unused == ("other/kernel",)
    assert report.excluded == ()
    assert report.mismatched == {"seg_b/kernel": ((4, 2), (4, 7))}
    after = read_weights(model)
    np.testing.assert_array_equal(after["enc_a/kernel"], source["enc_a/kernel"])
    np.testing.assert_array_equal(after["seg_b/kernel"], before["seg_b/kernel"])
    for text in ("copied 1 weights (enc_a)", "1 not in the source", "(other)", "seg_b/kernel has shape (4, 2) here"):
        assert text in report.summary()


def test_excluded_prefixes_are_left_alone():
    model = small()
    before = read_weights(model)
    report = copy_by_name(model, {name: value + 1 for name, value in before.items()}, exclude=("seg_",))
    assert report.excluded == ("seg_b/kernel",) and set(report.copied) == {"enc_a/kernel", "enc_a/bias"}
    np.testing.assert_array_equal(read_weights(model)["seg_b/kernel"], before["seg_b/kernel"])


def test_set_weights_wants_exactly_all():
    model = small()
    weights = read_weights(model)
    set_weights(model, {name: value + 1 for name, value in weights.items()})
    np.testing.assert_array_equal(read_weights(model)["enc_a/bias"], np.ones(4))
    for wrong in (
        {"enc_a/kernel": weights["enc_a/kernel"]},
        weights | {"more/kernel": np.zeros(1)},
        weights | {"enc_a/bias": np.zeros(5)},
    ):
        with pytest.raises(ValueError, match="do not belong to this network"):
            set_weights(model, wrong)


def test_read_weights_are_copies():
    model = small()
    weights = read_weights(model)
    weights["enc_a/bias"] += 5
    assert not read_weights(model)["enc_a/bias"].any()


def test_two_weights_of_one_name_are_an_error():
    inputs = keras.Input((3,))
    inner = keras.Sequential([layers.Dense(3, name="twin")], name="inner")
    model = keras.Model(inputs, layers.Dense(3, name="twin")(inner(inputs)))
    with pytest.raises(RuntimeError, match="are called 'twin/kernel'"):
        named_variables(model)


def test_encoder_weights_move_to_the_unet_and_nothing_else():
    source = read_weights(models.build_global_net((32, 32, 1), seed=5))
    unet = models.build_unet((32, 32, 1), 4, seed=6)
    report = copy_by_name(unet, source, exclude=("seg_",))
    assert len(report.copied) == 48 + 24 and all(name.startswith("enc_") for name in report.copied)
    assert report.unused == ("reg_nn1/kernel", "reg_pred/kernel") and not report.mismatched
    after = read_weights(unet)
    assert all(np.array_equal(after[name], source[name]) for name in report.copied)


@pytest.mark.parametrize("blocks", [1, 5])
def test_decoder_weights_move_to_the_unet(blocks):
    options = {"positions": [[0, 0]], "region_size": 1, "use_projection": False}
    source = read_weights(models.build_local_net((32, 32, 1), blocks, seed=5, **options))
    report = copy_by_name(models.build_unet((32, 32, 1), 4), source, exclude=("seg_",))
    trainable = [name for name in report.copied if "moving" not in name]
    assert len(trainable) == 48 + 12 * blocks - 4 * (blocks == 5)
    assert all(name.startswith("loc_") for name in report.unused) and not report.mismatched


def test_frozen_encoder_keeps_weights_while_statistics_move():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(3, 3, use_bias=False, name="enc_c")(inputs)
    x = BatchNormalization(name="enc_c_bn")(x)
    x = layers.Flatten()(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    images = 5 + 3 * np.random.default_rng(0).standard_normal((4, 8, 8, 1)).astype(np.float32)
    free = keras.ops.convert_to_numpy(model(images, training=True))
    assert freeze(model, "enc_") == 4
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(images, training=True)), free)
    assert np.abs(keras.ops.convert_to_numpy(model(images, training=False)) - free).max() > 0.1
    before = read_weights(model)
    model.compile(keras.optimizers.Adam(0.1), loss="mse")
    model.train_on_batch(images, np.ones((4, 2), np.float32))
    after = read_weights(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"head/kernel", "head/bias", "enc_c_bn/moving_mean", "enc_c_bn/moving_variance"}
    assert {v.path.split("/")[0] for v in model.trainable_variables} == {"head"}
