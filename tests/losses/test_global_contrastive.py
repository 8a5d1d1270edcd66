"""Expected values: by hand, and loops over the paper's pairs in tests/reference/global_contrastive.py."""

import keras
import numpy as np
import pytest
from keras import ops

from losses import GlobalContrastive, row_layout
from tests.backend import evaluate, value_and_grad
from tests.reference import global_contrastive as reference

EXPERIMENTS = [0, 1, 2, 3, 4]


def embeddings(num_rows, channels=8, seed=0):
    return np.random.default_rng(seed).normal(size=(num_rows, channels)).astype(np.float32)


def test_two_images_by_hand():
    # Views of an image coincide, the other image is orthogonal: each of the four terms is log(1 + 2 e^-1).
    z = np.array([[1, 0], [2, 0], [0, 1], [0, 3]], np.float32)
    loss = GlobalContrastive(0, temperature=1.0)(row_layout(0, 2), z)
    assert float(loss) == pytest.approx(2 * np.log(1 + 2 * np.exp(-1)), rel=1e-6)


def test_neighbouring_volumes_by_hand():
    # All rows of a partition are alike and orthogonal to those of the other: all terms are log(1 + 4 e^-1).
    ids = row_layout(2, 2, 2)
    loss = GlobalContrastive(2, temperature=1.0)
    assert evaluate(loss, ids, np.eye(2)[ids[:, 1]]) == pytest.approx(2 * np.log(1 + 4 * np.exp(-1)), rel=1e-6)
    weights, negatives = (ops.convert_to_numpy(mask) for mask in loss.masks(ids))
    assert set(np.unique(weights)) == {0, 1}, "two slots, each the neighbour of the other, are one pair"
    assert weights.sum() == 2 * 8  # per partition two pairs within the slots, two between them, each in two directions
    assert np.all(negatives.sum(axis=1) == 4)


@pytest.mark.parametrize("n_parts, num_slots", [(2, 1), (3, 2), (4, 4)])
@pytest.mark.parametrize("exp_no", EXPERIMENTS)
def test_equals_the_loops(exp_no, n_parts, num_slots):
    ids = row_layout(exp_no, max(num_slots, 2) if exp_no == 0 else num_slots, n_parts)
    z = embeddings(len(ids))
    for temperature, tolerance in ((0.1, 2e-6), (0.005, 1e-5)):
        expected = reference.paper_loss(exp_no, z, ids, temperature)
        assert evaluate(GlobalContrastive(exp_no, temperature), ids, z) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("exp_no", EXPERIMENTS)
def test_order_of_rows_and_length_of_embeddings_do_not_matter(exp_no):
    ids = row_layout(exp_no, 3, 3)
    z = embeddings(len(ids))
    loss = GlobalContrastive(exp_no)
    order = np.random.default_rng(1).permutation(len(ids))
    scale = np.random.default_rng(2).uniform(0.1, 10, size=(len(ids), 1))
    expected = evaluate(loss, ids, z)
    assert evaluate(loss, ids[order], z[order]) == pytest.approx(expected, rel=1e-5)
    assert evaluate(loss, ids, z * scale) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("exp_no", EXPERIMENTS)
def test_rows_with_negative_slot_are_ignored(exp_no):
    ids = row_layout(exp_no, 3, 3)
    z = embeddings(len(ids) + 5)
    padded = np.concatenate([ids, np.full((5, 3), [-1, 0, 0])])
    loss = GlobalContrastive(exp_no)
    assert evaluate(loss, padded, z) == pytest.approx(evaluate(loss, ids, z[: len(ids)]), rel=1e-5)
    _, (grad,) = value_and_grad(lambda z: loss(padded, z), z)
    assert np.all(grad[len(ids) :] == 0) and np.any(grad[: len(ids)] != 0)


@pytest.mark.parametrize("exp_no, num_slots, n_parts", [(0, 1, 1), (1, 2, 1), (2, 3, 1)])
def test_without_negatives_the_loss_is_zero(exp_no, num_slots, n_parts):
    ids = row_layout(exp_no, num_slots, n_parts)
    value, (grad,) = value_and_grad(lambda z: GlobalContrastive(exp_no)(ids, z), embeddings(len(ids)))
    assert value == 0 and np.all(grad == 0)


def test_without_positives_the_loss_is_zero():
    ids = [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    value, (grad,) = value_and_grad(lambda z: GlobalContrastive(0)(ids, z), embeddings(3))
    assert value == 0 and np.all(grad == 0)


@pytest.mark.parametrize("exp_no", EXPERIMENTS)
@pytest.mark.parametrize("kind", ["zero", "equal", "large"])
def test_gradient_is_finite_at_low_temperature(exp_no, kind):
    ids = row_layout(exp_no, 3, 4)
    z = embeddings(len(ids)) * {"zero": 0.0, "equal": 0.0, "large": 1e25}[kind] + (kind == "equal")
    value, (grad,) = value_and_grad(lambda z: GlobalContrastive(exp_no, 0.005)(ids, z), z)
    assert np.isfinite(value) and np.all(np.isfinite(grad))


@pytest.mark.parametrize("exp_no", EXPERIMENTS)
def test_random_level_is_the_loss_of_equal_embeddings(exp_no):
    ids = row_layout(exp_no, 4, 3)
    loss = GlobalContrastive(exp_no)
    assert loss.random_level(ids) == pytest.approx(evaluate(loss, ids, np.ones((len(ids), 8))), rel=1e-5)
    num_negatives = keras.ops.convert_to_numpy(loss.masks(ids)[1]).sum(axis=-1)
    assert np.all(num_negatives == (len(ids) - 2 if exp_no == 0 else len(ids) * 2 // 3))
    assert loss.random_level(ids) == pytest.approx(2 * np.log1p(num_negatives[0]), rel=1e-5)


def test_fit_brings_the_loss_below_the_random_level():
    ids = row_layout(2, 3, 4)
    images = np.random.default_rng(0).normal(size=(len(ids), 16)).astype(np.float32)
    loss = GlobalContrastive(2)
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])
    model.compile(keras.optimizers.Adam(0.1), loss=loss, jit_compile=keras.backend.backend() == "jax")
    history = model.fit(images, ids, batch_size=len(ids), epochs=12, shuffle=False, verbose=0)
    assert history.history["loss"][-1] < 0.8 * loss.random_level(ids)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"exp_no": 5}, "`exp_no` must be one of 0, 1, 2, 3, 4. Received: exp_no=5"),
        ({"temperature": 0}, "`temperature` must be a positive finite number. Received: temperature=0"),
        ({"temperature": float("nan")}, "`temperature` must be a positive"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GlobalContrastive(**kwargs)
