"""Adam and SGD with coupled weight decay. Expected values: tests/reference/group_optimizers.py and golden steps."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fewslice.train.optimizers import CosineWave, CoupledAdam, CoupledSGD, polynomial_decay
from tests.golden_files import golden
from tests.reference import group_optimizers as reference

GOLDEN = golden("coreclr", "head_and_optimisers.npz")
IS_DOUBLE = keras.backend.backend() != "jax"
TOLERANCE = {"rtol": 1e-7, "atol": 1e-8} if IS_DOUBLE else {"rtol": 1e-6, "atol": 1e-6}
with_golden = pytest.mark.skipif(not GOLDEN, reason="no golden files; set FEWSLICE_GOLDEN")


def trajectory(optimizer, start, gradients, rates=None):
    """Returns the weights before the first and after each step."""
    variable = keras.Variable(start, dtype="float64" if IS_DOUBLE else "float32")
    weights = [np.array(variable)]
    for step, gradient in enumerate(gradients):
        if rates is not None:
            optimizer.learning_rate = rates[step]
        optimizer.apply([keras.ops.convert_to_tensor(gradient, variable.dtype)], [variable])
        weights.append(np.array(variable))
    return np.array(weights)


def draw(steps=8, size=5):
    rng = np.random.default_rng(0)
    return rng.normal(size=size), rng.normal(size=(steps, size)) * 10.0 ** -np.arange(size)


def test_first_step_by_hand():
    # g = 1 + .5 * 2 = 2; Adam's first step is rate * g / |g|, SGD's rate * g.
    adam = trajectory(CoupledAdam(0.1, l2=0.5), [2.0], [[1.0]])
    sgd = trajectory(CoupledSGD(0.1, l2=0.5), [2.0], [[1.0]])
    np.testing.assert_allclose([adam[1], sgd[1]], [[1.9], [1.8]], rtol=1e-6)


def test_adam_equals_the_reference():
    start, gradients = draw()
    found = trajectory(CoupledAdam(0.01, l2=0.1, beta_1=0.8, beta_2=0.99), start, gradients)
    expected = reference.adam(start, gradients, 0.01, 0.1, beta_1=0.8, beta_2=0.99)
    # The learning rate is float32 in Keras.
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_with_polynomial_decay_equals_the_reference(momentum):
    start, gradients = draw()
    found = trajectory(CoupledSGD(polynomial_decay(0.1, 8), l2=0.05, momentum=momentum), start, gradients)
    rates = [0.1 * (1 - step / 8) ** 0.9 for step in range(8)]
    np.testing.assert_allclose(found, reference.sgd(start, gradients, rates, 0.05, momentum), **TOLERANCE)


def test_nesterov_by_hand():
    # g = 1 + .5 w with w = 2: v = 2, step 2 + .5 * 2 = 3; then w = 1.7, g = 1.85, v = 2.85, step 1.85 + 1.425
    found = trajectory(CoupledSGD(0.1, l2=0.5, momentum=0.5, nesterov=True), [2.0], [[1.0], [1.0]])
    np.testing.assert_allclose(found, [[2.0], [1.7], [1.7 - 0.3275]], rtol=1e-6)


def steps(name):
    with np.load(GOLDEN[0]) as data:
        return data[f"{name}_p"], data[f"{name}_g"], data[f"{name}_lr"]


ADAM = {"adam": 1e-6, "adam_big": 0.1}  # case -> weight decay


@pytest.mark.golden
@with_golden
@pytest.mark.parametrize("name", ADAM)
def test_golden_adam(name):
    expected, gradients, rates = steps(name)
    np.testing.assert_allclose(reference.adam(expected[0], gradients, rates[0], ADAM[name]), expected, rtol=1e-9)
    found = trajectory(CoupledAdam(rates[0], l2=ADAM[name]), expected[0], gradients)
    np.testing.assert_allclose(found, expected, **TOLERANCE)
    if name == "adam_big":  # where the decay is felt, Keras' decoupled one is something else
        keras_own = trajectory(keras.optimizers.Adam(rates[0], weight_decay=ADAM[name]), expected[0], gradients)
        assert np.abs(keras_own - expected).max() > 1e-3


@pytest.mark.golden
@with_golden
def test_golden_sgd():
    expected, gradients, rates = steps("sgd")
    np.testing.assert_allclose(reference.sgd(expected[0], gradients, rates, 1e-4, 0.9), expected, rtol=1e-9)
    found = trajectory(CoupledSGD(l2=1e-4, momentum=0.9), expected[0], gradients, rates)
    np.testing.assert_allclose(found, expected, **TOLERANCE)
    # The published rates are those of the schedule, one step late.
    schedule = polynomial_decay(rates[0], len(rates))
    ours = [float(schedule(step)) for step in range(len(rates))]
    np.testing.assert_allclose(rates, [ours[0], *ours[:-1]], rtol=1e-5)
    keras_own = trajectory(keras.optimizers.SGD(momentum=0.9), expected[0], gradients + 1e-4 * expected[:-1], rates)
    assert np.abs(keras_own - expected).max() > 1e-4, "Keras' momentum keeps the rate of each gradient"


@pytest.mark.parametrize("cls", [CoupledAdam, CoupledSGD])
def test_config_round_trip_and_training(cls):
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(cls(0.05, l2=0.03)))
    assert isinstance(optimizer, cls) and optimizer.l2 == 0.03
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    x = np.random.default_rng(0).normal(size=(16, 3))
    losses = [model.train_on_batch(x, x[:, :1]) for _ in range(5)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CoupledAdam(l2=-1), "`l2` must not be negative"),
        (lambda: CoupledAdam(amsgrad=True), "`amsgrad` and `weight_decay`"),
        (lambda: CoupledAdam(weight_decay=0.1), "`amsgrad` and `weight_decay`"),
        (lambda: CoupledSGD(weight_decay=0.1), "`weight_decay` is not available"),
        (lambda: CoupledSGD(l2=float("nan")), "`l2` must not be negative"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_cosine_wave():
    """By hand: the rate, half way, the lowest after 10 steps, and up again."""
    schedule = CosineWave(1e-3)
    values = [float(np.asarray(schedule(step))) for step in (0, 5, 10, 15, 20)]
    np.testing.assert_allclose(values, [1e-3, 5.05e-4, 1e-5, 5.05e-4, 1e-3], rtol=1e-4)
    assert schedule.get_config() == {"learning_rate": 1e-3, "half_period": 10, "lowest": 1e-5}
