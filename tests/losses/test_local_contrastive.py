"""Expected values: by hand, and loops over maps and regions in tests/reference/local_contrastive.py."""

import numpy as np
import pytest

from losses import LocalContrastive, RegionTable, local_row_layout, region_table
from tests.backend import evaluate, value_and_grad
from tests.reference import local_contrastive as reference


def embeddings(num_maps, regions, channels=6, seed=0):
    shape = (num_maps, len(regions.positions), channels)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def as_loops(regions, y_pred):
    """Returns maps, regions and negatives in the form of the reference."""
    corners = [tuple(position) for position in regions.positions.tolist()]
    maps = [dict(zip(corners, image, strict=True)) for image in y_pred]
    negatives = [[c for c, used in zip(corners, row, strict=True) if used] for row in regions.negative_mask]
    return maps, corners[: regions.num_regions], negatives


def two_positions():
    """One region whose only negative is a second position."""
    return RegionTable(np.array([[0, 0], [0, 1]], np.int32), region_size=1, negative_mask=np.array([[False, True]]))


def test_two_maps_by_hand():
    # The region is alike in both maps and orthogonal to the negative in both: each term is log(1 + 2 e^-1).
    y_pred = np.array([[[1, 0], [0, 1]], [[3, 0], [0, 2]]], np.float32)
    loss = LocalContrastive(0, two_positions(), temperature=1.0)
    assert evaluate(loss, local_row_layout(0, 1), y_pred) == pytest.approx(2 * np.log(1 + 2 / np.e), rel=1e-6)


@pytest.mark.parametrize("batch_negatives", [False, True])
@pytest.mark.parametrize(
    "exp_no, num_slots, n_parts, temperature, num_negatives",
    [(0, 1, 1, 0.1, 2), (0, 3, 1, 0.1, "all"), (1, 1, 3, 0.1, 2), (1, 2, 2, 0.1, "all"), (1, 3, 4, 0.005, 2)],
)
def test_equals_the_loops(exp_no, num_slots, n_parts, temperature, num_negatives, batch_negatives):
    regions = region_table(8, 9, local_reg_size=0, no_of_neg_local_regions=num_negatives)
    ids = local_row_layout(exp_no, num_slots, n_parts)
    y_pred = embeddings(len(ids), regions)
    maps, corners, negatives = as_loops(regions, y_pred)
    expected = reference.paper_loss(exp_no, maps, ids, corners, negatives, temperature, batch_negatives)
    loss = LocalContrastive(exp_no, regions, temperature=temperature, batch_negatives=batch_negatives)
    assert evaluate(loss, ids, y_pred) == pytest.approx(expected, rel=1e-5 if temperature < 0.1 else 2e-6)


@pytest.mark.parametrize("exp_no", [0, 1])
def test_order_of_rows_length_of_embeddings_and_padding_do_not_matter(exp_no):
    regions = region_table(12)
    ids = local_row_layout(exp_no, 3, 2)
    y_pred = embeddings(len(ids), regions)
    loss = LocalContrastive(exp_no, regions, batch_negatives=True)
    expected = pytest.approx(evaluate(loss, ids, y_pred), rel=1e-5)
    order = np.random.default_rng(1).permutation(len(ids))
    scale = np.random.default_rng(2).uniform(0.1, 10, size=(*y_pred.shape[:2], 1))
    assert evaluate(loss, ids[order], y_pred[order]) == expected
    assert evaluate(loss, ids, y_pred * scale) == expected
    padded_ids = np.concatenate([ids, np.full((2, 3), [-1, 0, 0])])
    assert evaluate(loss, padded_ids, np.concatenate([y_pred, y_pred[:2]])) == expected


def test_positions_that_no_region_uses_get_no_gradient():
    regions = region_table(12, 13, local_reg_size=1)
    unused = RegionTable(regions.positions, 3, regions.negative_mask[:1])
    ids = local_row_layout(0, 2)
    _, (grad,) = value_and_grad(lambda v: LocalContrastive(0, unused)(ids, v), embeddings(4, regions))
    used = unused.negative_mask[0].copy()
    used[0] = True
    assert np.all(np.any(grad != 0, axis=(0, 2)) == used)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e25])
@pytest.mark.parametrize("exp_no", [0, 1])
def test_gradient_is_finite_at_low_temperature(exp_no, scale):
    regions = region_table(12)
    ids = local_row_layout(exp_no, 2, 2)
    y_pred = embeddings(len(ids), regions) * np.float32(scale)
    loss = LocalContrastive(exp_no, regions, temperature=0.005, batch_negatives=True)
    value, (grad,) = value_and_grad(lambda v: loss(ids, v), y_pred)
    assert np.isfinite(value) and np.all(np.isfinite(grad))


@pytest.mark.parametrize("batch_negatives", [False, True])
@pytest.mark.parametrize("exp_no", [0, 1])
def test_random_level_is_the_loss_of_equal_embeddings(exp_no, batch_negatives):
    regions = region_table(12)
    ids = local_row_layout(exp_no, 3, 4)
    loss = LocalContrastive(exp_no, regions, batch_negatives=batch_negatives)
    equal = np.ones((len(ids), len(regions.positions), 4))
    assert loss.random_level(ids) == pytest.approx(evaluate(loss, ids, equal), rel=1e-5)
    extra = batch_negatives * (4 if exp_no == 0 else 18)
    assert loss.random_level(ids) == pytest.approx(2 * np.log(1 + 10 + extra), rel=1e-5)


def test_without_pairs_the_loss_is_zero():
    regions = region_table(12)
    value, (grad,) = value_and_grad(
        lambda v: LocalContrastive(0, regions)([[0, 0, 0], [1, 0, 0]], v), embeddings(2, regions)
    )
    assert value == 0 and np.all(grad == 0)


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((2,), {}, "`exp_no` must be one of 0, 1. Received: exp_no=2"),
        ((0,), {"temperature": -1}, "`temperature` must be a positive finite number"),
    ],
)
def test_wrong_arguments(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        LocalContrastive(*args, region_table(12), **kwargs)


def test_embeddings_must_fit_the_regions():
    regions = region_table(12)
    with pytest.raises(ValueError, match=r"shape \(maps, 17, channels\)"):
        LocalContrastive(0, regions)(local_row_layout(0, 1), np.zeros((2, 13, 4)))
