"""Expected values: by hand, and loops over the paper's pairs in tests/reference/global_contrastive.py."""

import keras
import numpy as np
import pytest
from keras import ops

from losses import GlobalContrastive, published_normaliser, row_layout
from tests.backend import compiled, evaluate, value_and_grad
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
    assert weights.sum() == 2 * 8  # per partition two pairs within the slots, two between them, each in two directions
    assert np.all(negatives.sum(axis=1) == 4)


@pytest.mark.parametrize("n_parts, num_slots", [(2, 1), (3, 2), (4, 6), (5, 3), (6, 4), (4, 5)])
@pytest.mark.parametrize("exp_no", EXPERIMENTS)
def test_equals_the_loops(exp_no, n_parts, num_slots):
    ids = row_layout(exp_no, max(num_slots, 2) if exp_no == 0 else num_slots, n_parts)
    z = embeddings(len(ids))
    expected = reference.paper_loss(exp_no, z, ids, 0.1)
    assert evaluate(GlobalContrastive(exp_no, 0.1), ids, z) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize(
    "batch_size, n_parts, exp_no", [(6, 4, 0), (8, 4, 1), (12, 4, 2), (4, 3, 2), (6, 4, 4), (6, 4, 3)]
)
def test_published_counting_equals_the_loops_of_the_published_code(batch_size, n_parts, exp_no):
    num_slots = {0: batch_size, 1: batch_size // n_parts}.get(exp_no, 2 * batch_size // n_parts)
    ids = row_layout(exp_no, num_slots, n_parts)
    if exp_no in (3, 4):
        ids = ids[: 4 * batch_size]
    z = embeddings(len(ids))
    loss = GlobalContrastive(exp_no, 0.1, pair_counts="published", normaliser=published_normaliser(exp_no, batch_size))
    assert reference.is_partition_right(exp_no, len(ids), batch_size, n_parts)
    expected = reference.published_loss(exp_no, z, batch_size, n_parts, 0.1)
    assert evaluate(loss, ids, z) == pytest.approx(expected, rel=2e-6)


def test_two_slots_are_one_pair_and_two_in_published_counting():
    ids = row_layout(2, 2, 3)
    distinct = ops.convert_to_numpy(GlobalContrastive(2).masks(ids)[0])
    published = ops.convert_to_numpy(GlobalContrastive(2, pair_counts="published").masks(ids)[0])
    assert set(np.unique(distinct)) == {0, 1} and set(np.unique(published)) == {0, 2}
    np.testing.assert_array_equal(published, 2 * distinct)


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


@pytest.mark.parametrize("temperature", [0.005, 0.05])
def test_low_temperature_equals_the_loops(temperature):
    ids = row_layout(2, 3, 3)
    z = embeddings(len(ids))
    expected = reference.paper_loss(2, z, ids, temperature)
    assert evaluate(GlobalContrastive(2, temperature), ids, z) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_embeddings_give_a_float32_loss(dtype):
    ids = row_layout(2, 3, 4)
    z = ops.cast(embeddings(len(ids)), dtype)
    loss = GlobalContrastive(2)
    value = loss(ids, z)
    assert "float32" in str(value.dtype)
    assert float(value) == pytest.approx(evaluate(loss, ids, ops.cast(z, "float32")), rel=1e-6)
    _, (grad,) = value_and_grad(lambda z: loss(ids, z), z, dtype=dtype)
    assert np.all(np.isfinite(grad)) and np.any(grad != 0)


@pytest.mark.parametrize("pair_counts", ["distinct", "published"])
@pytest.mark.parametrize("exp_no", EXPERIMENTS)
def test_random_level_is_the_loss_of_equal_embeddings(exp_no, pair_counts):
    ids = row_layout(exp_no, 4, 3)
    loss = GlobalContrastive(exp_no, pair_counts=pair_counts)
    assert loss.random_level(ids) == pytest.approx(evaluate(loss, ids, np.ones((len(ids), 8))), rel=1e-5)
    num_negatives = keras.ops.convert_to_numpy(loss.masks(ids)[1]).sum(axis=-1)
    assert np.all(num_negatives == (len(ids) - 2 if exp_no == 0 else len(ids) * 2 // 3))
    assert loss.random_level(ids) == pytest.approx(2 * np.log1p(num_negatives[0]), rel=1e-5)


def test_compiled_with_unknown_batch_size():
    loss = GlobalContrastive(2, pair_counts="published")
    ids = row_layout(2, 6, 4).astype(np.float32)
    z = embeddings(len(ids))
    assert float(compiled(loss)(ids, z)) == pytest.approx(evaluate(loss, ids, z), rel=1e-6)


def test_fit_brings_the_loss_below_the_random_level():
    ids = row_layout(2, 3, 4)
    images = np.random.default_rng(0).normal(size=(len(ids), 16)).astype(np.float32)
    loss = GlobalContrastive(2)
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])
    model.compile(keras.optimizers.Adam(0.05), loss=loss)
    history = model.fit(images, ids, batch_size=len(ids), epochs=30, shuffle=False, verbose=0)
    assert history.history["loss"][-1] < 0.8 * loss.random_level(ids)


def test_config_round_trip():
    loss = GlobalContrastive(1, 0.2, pair_counts="published", normaliser=36, name="g", reduction="sum")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert loss.get_config() == {
        "name": "g", "reduction": "sum", "exp_no": 1, "temperature": 0.2, "pair_counts": "published",
        "normaliser": 36.0, "dtype": "float32",
    }  # fmt: skip


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"exp_no": 5}, "`exp_no` must be one of 0, 1, 2, 3, 4. Received: exp_no=5"),
        ({"temperature": 0}, "`temperature` must be a positive finite number. Received: temperature=0"),
        ({"temperature": float("nan")}, "`temperature` must be a positive"),
        ({"pair_counts": "twice"}, "`pair_counts` must be one of 'distinct', 'published'"),
        ({"normaliser": -1}, "`normaliser` must be a positive"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GlobalContrastive(**kwargs)
