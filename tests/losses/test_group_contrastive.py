"""Expected values: by hand, and loops over rows in tests/reference/group_contrastive.py."""

import numpy as np
import pytest
from keras import ops

from losses.group_contrastive import GroupContrastive, group_row_layout
from tests.backend import compiled, evaluate, value_and_grad
from tests.reference import group_contrastive as reference


def embeddings(num_rows, channels=8, seed=0):
    return np.random.default_rng(seed).normal(size=(num_rows, channels)).astype(np.float32)


def full_loss(temperature=0.5, **options):
    settings = {
        "loss_wt": 0.7,
        "neg_loss_wt": 0.3,
        "pos_loss_wts": (0.35, 0.2, 0.05),
        "pos_loss_masks": ((2, 3), (3,), ()),
    }
    return GroupContrastive(temperature, **{**settings, **options})


def test_two_images_by_hand():
    # Views of an image coincide, the other image is orthogonal: each term is log(1 + 2 e^-1).
    z = np.array([[1, 0], [0, 1], [2, 0], [0, 3]], np.float32)
    loss = GroupContrastive(1.0)
    assert evaluate(loss, group_row_layout(2), z) == pytest.approx(np.log(1 + 2 * np.exp(-1)), rel=1e-6)


def test_group_terms_by_hand():
    # Two groups of two images; all rows of a group coincide, the groups are orthogonal. NT-Xent has the two rows of
    # the mate as negatives (log(1 + 2 + 4 / e)); both group terms have the four rows of the other group only.
    ids = group_row_layout(4, 2)
    z = np.eye(2)[ids[:, 1]]
    plain, group = np.log(3 + 4 * np.exp(-1)), np.log(1 + 4 * np.exp(-1))
    assert evaluate(GroupContrastive(1.0), ids, z) == pytest.approx(plain, rel=1e-6)
    only = {"loss_wt": 0.0}
    assert evaluate(GroupContrastive(1.0, neg_loss_wt=1.0, **only), ids, z) == pytest.approx(group, rel=1e-6)
    assert evaluate(GroupContrastive(1.0, pos_loss_wts=(1.0,), **only), ids, z) == pytest.approx(group, rel=1e-6)
    # Every other row a positive: 3 of 7 coincide, 4 are orthogonal with log(1 + 4).
    everything = GroupContrastive(1.0, pos_loss_wts=(1.0,), positives="all", **only)
    assert evaluate(everything, ids, z) == pytest.approx((3 * group + 4 * np.log(5)) / 7, rel=1e-6)


def test_masks_of_groups_by_hand():
    loss = GroupContrastive(loss_wt=0.0, pos_loss_wts=(1.0,), pos_loss_masks=((2,),))
    ((weights, negatives),) = loss.masks(group_row_layout(6, 3))
    weights, negatives = ops.convert_to_numpy(weights), ops.convert_to_numpy(negatives)
    # Anchor and volume partner of a group are rows 0, 1 and 6, 7, or 3, 4 and 9, 10.
    expected = np.zeros((12, 12))
    for rows in ((0, 1, 6, 7), (3, 4, 9, 10)):
        expected[np.ix_(rows, rows)] = 1 - np.eye(4)
    np.testing.assert_allclose(weights, expected / 24, rtol=1e-6)
    assert np.flatnonzero(negatives[0]).tolist() == [3, 4, 5, 9, 10, 11]


TERMS = {
    "nt_xent": ({}, reference.nt_xent, {}),
    "negative": ({"loss_wt": 0.0, "neg_loss_wt": 1.0}, reference.group_negative, {}),
    "patient": ({"loss_wt": 0.0, "pos_loss_wts": (1.0,)}, reference.group_positive, {}),
    "slice": (
        {"loss_wt": 0.0, "pos_loss_wts": (1.0,), "pos_loss_masks": ((2, 3),)},
        reference.group_positive,
        {"mask": (2, 3)},
    ),
    "published": (
        {"loss_wt": 0.0, "pos_loss_wts": (1.0,), "pos_loss_masks": ((2, 3),), "positives": "all"},
        reference.published_positive,
        {},
    ),
}


@pytest.mark.parametrize(("batch_size", "group_size", "temperature"), [(8, 4, 0.5), (12, 3, 0.1)])
@pytest.mark.parametrize("name", TERMS)
def test_equals_the_loops(name, batch_size, group_size, temperature):
    options, expected, mask = TERMS[name]
    ids = group_row_layout(batch_size, group_size)
    z = embeddings(len(ids))
    loss = GroupContrastive(temperature, **options)
    assert evaluate(loss, ids, z) == pytest.approx(expected(z, ids, temperature, **mask), rel=2e-6)


def expected_sum(z, ids):
    """Returns the value of `full_loss()`."""
    expected = 0.7 * reference.nt_xent(z, ids, 0.5) + 0.3 * reference.group_negative(z, ids, 0.5)
    for weight, mask in ((0.35, (2, 3)), (0.2, (3,)), (0.05, ())):
        expected += weight * reference.group_positive(z, ids, 0.5, mask)
    return expected


def test_terms_add_up_compiled_with_any_batch_size():
    traced = compiled(full_loss())
    for batch_size in (8, 12):
        ids, z = group_row_layout(batch_size, 4).astype(np.float32), embeddings(2 * batch_size)
        assert float(traced(ids, z)) == pytest.approx(expected_sum(z, ids), rel=2e-6)


def test_order_of_rows_length_and_padding_do_not_matter():
    ids = group_row_layout(8, 4)
    z = embeddings(16)
    loss = full_loss(0.1)
    expected = evaluate(loss, ids, z)
    rng = np.random.default_rng(1)
    order = rng.permutation(16)
    assert evaluate(loss, ids[order], z[order] * rng.uniform(0.1, 9, (16, 1))) == pytest.approx(expected, rel=1e-5)
    padded_ids = np.concatenate([ids[:5], np.full((3, 3), -1), ids[5:]])
    padded = np.insert(z, [5, 5, 5], rng.normal(size=(3, 8)), axis=0)
    assert evaluate(loss, padded_ids, padded) == pytest.approx(expected, rel=1e-5)


def test_groups_have_no_influence_without_group_terms():
    z = embeddings(12)
    ids = group_row_layout(6, 3)
    plain = evaluate(GroupContrastive(), ids, z)
    assert evaluate(GroupContrastive(), group_row_layout(6), z) == plain
    assert evaluate(GroupContrastive(neg_loss_wt=0.1), ids, z) != pytest.approx(plain)


def test_extreme_embeddings_have_finite_gradients():
    z = embeddings(16)
    z[0], z[1], z[2] = 0, 1e30, z[3]
    ids = group_row_layout(8, 4)
    loss = full_loss(0.001)
    value, (grad,) = value_and_grad(lambda x: loss(ids, x), z)
    assert np.isfinite(value) and np.isfinite(grad).all()


def test_one_group_has_no_negatives_and_no_group_loss():
    ids = group_row_layout(3, 3)
    loss = GroupContrastive(loss_wt=0.0, neg_loss_wt=1.0, pos_loss_wts=(1.0,))
    value, (grad,) = value_and_grad(lambda x: loss(ids, x), embeddings(6))
    assert value == 0 and np.all(grad == 0)


def test_random_level_is_the_loss_of_equal_embeddings():
    ids = group_row_layout(8, 4)
    loss = full_loss()
    assert loss.random_level(ids) == pytest.approx(evaluate(loss, ids, np.ones((16, 4), np.float32)), rel=1e-5)
    assert GroupContrastive().random_level(ids) == pytest.approx(np.log(15), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be a positive"),
        ({"loss_wt": -1.0}, "`loss_wt` must not be negative"),
        ({"pos_loss_wts": (float("nan"),)}, "`pos_loss_wts` must not be negative or infinite"),
        ({"loss_wt": 0.0}, "At least one of"),
        ({"pos_loss_wts": (1.0,), "pos_loss_masks": ((), (2,))}, "one entry for each .* 2 masks, 1 weights"),
        ({"pos_loss_wts": (1.0,), "pos_loss_masks": ((-1,),)}, "positions in the group, 0 or more"),
        ({"positives": "everything"}, "`positives` must be one of 'group', 'all'"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GroupContrastive(**options)


def test_wrong_ids_and_sizes_are_named():
    with pytest.raises(ValueError, match="image, group, position in the group"):
        GroupContrastive()(np.zeros((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="batch_size=9, group_size=2"):
        group_row_layout(9, 2)
