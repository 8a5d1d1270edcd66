"""The networks with a mean teacher, and the teacher."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import losses
import models
from models.joint import LOGITS
from models.layers import BatchNormalization
from models.teacher import CONSISTENCY, AveragedTeacher, without_statistics
from tests.models.networks import number

SHAPE = (32, 32, 1)
pytestmark = pytest.mark.usefixtures("small_unet")


def _images(rows, seed=0):
    return np.random.default_rng(seed).random((rows, *SHAPE)).astype("float32")


def _statistics(network):
    return {v.path: number(v) for v in network.non_trainable_variables if "moving" in v.path}


def _unimatch(**settings):
    return models.build_unimatch_net(SHAPE, 3, num_labelled=2, num_unlabelled=3, **settings)


def test_without_statistics_is_the_same_network_and_keeps_its_statistics():
    unet = models.build_unet(SHAPE, 3, seed=1)
    still, images = without_statistics(unet), _images(4)
    before = _statistics(unet)
    np.testing.assert_array_equal(number(still(images, training=True)), number(unet(images, training=True)))
    moved = _statistics(unet)
    assert all((moved[name] != before[name]).any() for name in before)
    still(_images(4, seed=5), training=True)
    for name, values in _statistics(unet).items():
        np.testing.assert_array_equal(values, moved[name])
    np.testing.assert_array_equal(number(still(images)), number(unet(images)))
    assert {id(v) for v in still.variables} == {id(v) for v in unet.variables}


@pytest.mark.parametrize("dropout, groups", [(0.5, 4), (0.0, 3)])
def test_unimatch_rows(dropout, groups):
    """Each group of rows is what the U-Net gives for it alone, normalised as documented."""
    model, unet = _unimatch(teacher_decay=0.9, feature_dropout=dropout)
    models.start_teacher(model)
    images = _images(2 + 3 * 3)
    out = {name: number(values) for name, values in model(images, training=True).items()}
    assert out[LOGITS].shape == (2, 32, 32, 3) and out[CONSISTENCY].shape == (3 * groups, 32, 32, 3)
    clean = number(unet(images[:5], training=True))
    np.testing.assert_allclose(out[LOGITS], clean[:2], atol=1e-5)
    np.testing.assert_allclose(out[CONSISTENCY][-6:], number(unet(images[5:], training=True)), atol=1e-5)
    teacher = model.get_layer("teacher").network
    np.testing.assert_allclose(out[CONSISTENCY][:3], number(teacher(images[2:5])), atol=1e-5)
    if dropout:
        assert np.abs(out[CONSISTENCY][3:6] - clean[2:]).max() > 0.01


def test_unimatch_without_average_takes_its_own_weak_prediction():
    model, unet = _unimatch(teacher_decay=0.0, feature_dropout=0.0)
    images = _images(11)
    out = number(model(images, training=True)[CONSISTENCY])
    np.testing.assert_allclose(out[:3], number(unet(images[:5], training=True))[2:], atol=1e-5)
    assert len(model.variables) == len(unet.variables)


def test_only_clean_rows_move_the_statistics():
    """The same as one pass of the U-Net over the labelled and weak rows, whatever the strong rows are."""
    images = _images(11)
    model, unet = _unimatch()
    model(np.concatenate([images[:5], images[5:] * 3]), training=True)
    alone = models.build_unet(SHAPE, 3, seed=0)
    alone(images[:5], training=True)
    found = _statistics(unet)
    for name, values in _statistics(alone).items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_copy_paste_rows():
    model, unet = models.build_copy_paste_net(SHAPE, 3, num_labelled=2, num_unlabelled=3, teacher_decay=0.0)
    images = _images(8)
    models.start_teacher(model)
    out = {name: number(values) for name, values in model(images, training=True).items()}
    trained = number(unet(images[:5], training=True))
    np.testing.assert_allclose(out[LOGITS], trained[:2], atol=1e-5)
    np.testing.assert_allclose(out[CONSISTENCY][3:], trained[2:], atol=1e-5)
    assert out[CONSISTENCY].shape == (6, 32, 32, 3)
    teacher = model.get_layer("teacher").network
    np.testing.assert_allclose(out[CONSISTENCY][:3], number(teacher(images[5:])), atol=1e-5)
    np.testing.assert_allclose(number(model(images)[LOGITS]), number(unet(images[:2])), atol=1e-5)


def _followed(decay, *, warm_up=False):
    """A small network and the average that follows it, trained together; compiling a U-Net takes JAX a minute."""
    inputs = keras.Input((8, 8, 1))
    x = BatchNormalization(name="bn")(keras.layers.Conv2D(2, 3, name="conv")(inputs))
    student, images = keras.Model(inputs, x, name="student"), keras.Input((8, 8, 1))
    teacher = AveragedTeacher(student, decay, name="teacher")
    model = keras.Model(images, {"own": student(images), "average": teacher(images)})
    model.compile(keras.optimizers.SGD(0.1), loss={"own": "mse", "average": "mse"})
    teacher.start(warm_up=warm_up)
    return model, student, teacher.network


def _step(model):
    images = np.random.default_rng(0).random((3, 8, 8, 1)).astype("float32")
    model.train_on_batch(images, {name: np.ones((3, 6, 6, 2), "float32") for name in ("own", "average")})


def test_average_follows_the_weights():
    """In each step: average += (1 - decay) (weights before the step - average)."""
    model, student, teacher = _followed(0.75)
    assert not teacher.trainable_variables
    kernel, average = number(student.get_layer("conv").kernel), number(teacher.get_layer("ema_conv").kernel)
    np.testing.assert_array_equal(kernel, average)
    for _ in range(3):
        kernel = number(student.get_layer("conv").kernel)
        _step(model)
        average = average + 0.25 * (kernel - average)
        np.testing.assert_allclose(number(teacher.get_layer("ema_conv").kernel), average, atol=1e-6)
    assert np.abs(average - number(student.get_layer("conv").kernel)).max() > 1e-3
    # Statistics are averaged too; those of before or after the step's own update, as the backend orders them.
    assert 0 < np.abs(number(teacher.get_layer("ema_bn").moving_mean)).max()


def test_the_decay_of_the_average_grows_where_it_warms_up():
    """1 / 10, then .15, the decay itself, since 2 / 11 is more."""
    model, student, teacher = _followed(0.15, warm_up=True)
    average = number(teacher.get_layer("ema_conv").kernel)
    for decay in (0.1, 0.15, 0.15):
        kernel = number(student.get_layer("conv").kernel)
        _step(model)
        average = decay * average + (1 - decay) * kernel
        np.testing.assert_allclose(number(teacher.get_layer("ema_conv").kernel), average, atol=1e-6)
    assert number(model.get_layer("teacher").calls) == 3


def test_average_is_taken_in_float32_under_mixed_precision():
    """A thousandth of a difference of 1 would vanish in 16 bits."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model, student, teacher = _followed(0.999)
        model.optimizer.learning_rate = 0.0
        kernel = student.get_layer("conv").kernel
        before = number(kernel)
        kernel.assign(before + 1)
        _step(model)
        np.testing.assert_allclose(number(teacher.get_layer("ema_conv").kernel) - before, 0.001, atol=1e-6)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_the_teacher_gets_no_gradient_and_the_network_learns():
    """Unlabelled images alone (learning from labels has weight 0) pull the network to its teacher's decision."""
    model, unet = _unimatch(teacher_decay=0.999, feature_dropout=0.0)
    models.start_teacher(model)
    model.compile(
        keras.optimizers.Adam(0.005),
        loss={LOGITS: losses.Dice(), CONSISTENCY: losses.WeakToStrong(0.0, drops_features=False)},
        loss_weights={LOGITS: 0.0, CONSISTENCY: 1.0},
        run_eagerly=True,  # compiling takes longer than so few steps
    )
    labels = np.eye(3, dtype="float32")[np.random.default_rng(3).integers(3, size=(2, 32, 32))]
    targets = {LOGITS: labels, CONSISTENCY: np.zeros((3, 32, 32, 2), "float32")}
    values = []
    for _ in range(4):
        values.append(model.train_on_batch(_images(11, seed=4), targets, return_dict=True)["loss"])
        model.reset_metrics()
    assert values[-1] < 0.9 * values[0]
    assert len(model.trainable_variables) == len(unet.trainable_variables)


def test_weights_have_names_of_their_own():
    model, unet = _unimatch()
    names = models.read_weights(model)
    assert set(models.read_weights(unet)) < set(names)
    assert {name for name in names if not name.startswith(("ema_", "teacher"))} == set(models.read_weights(unet))


@pytest.mark.parametrize(
    "settings, message", [({"teacher_decay": 1.0}, "decay"), ({"feature_dropout": 1.0}, "feature_dropout")]
)
def test_wrong_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        _unimatch(**settings)
    with pytest.raises(ValueError, match="num_unlabelled"):
        models.build_copy_paste_net(SHAPE, 3, num_labelled=1, num_unlabelled=0)
