"""Expected values: by hand, and loops of tests/reference/info_nce.py."""

import numpy as np
import pytest
from keras import ops

from losses import info_nce
from tests.backend import value_and_grad
from tests.reference import info_nce as reference


def numpy(x):
    return ops.convert_to_numpy(x)


def test_one_anchor_by_hand():
    # Cosines: 0 to the positive, 1 to the only negative; l = log(1 + e^1) at temperature 1.
    z = np.array([[2.0, 0.0], [0.0, 3.0], [5.0, 0.0]], np.float32)
    positive = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    negative = np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0]], bool)
    rows = info_nce.info_nce_rows(z, [(positive, negative)], temperature=1.0)
    np.testing.assert_allclose(numpy(rows), [np.log(1 + np.e), 0, 0], rtol=1e-6)


def test_normalise_by_hand():
    z = np.array([[3.0, 4.0], [0.0, 0.0], [1e-7, 0.0], [3e30, 4e30]], np.float32)
    expected = [[0.6, 0.8], [0, 0], [0.1, 0], [0.6, 0.8]]
    np.testing.assert_allclose(numpy(info_nce.normalise(z)), expected, rtol=1e-6)


def test_masked_logsumexp_equals_the_sum_of_the_masked_in():
    logits = np.array([[1.0, 2.0, 3.0], [200.0, -200.0, 0.0], [5.0, 6.0, 7.0]], np.float32)
    mask = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    expected = [np.log(np.exp(1) + np.exp(3)), 200.0, info_nce.EMPTY]
    np.testing.assert_allclose(numpy(info_nce.masked_logsumexp(logits, mask)), expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.005, 0.1, 1.0])
def test_rows_equal_the_loops(temperature):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(9, 6)).astype(np.float32)
    weights = rng.integers(0, 3, size=(9, 9)).astype(np.float32)
    negative = rng.random((9, 9)) < 0.5
    expected = []
    for a in range(9):
        others = [z[r] for r in range(9) if negative[a, r]]
        terms = [weights[a, b] * reference.term(z[a], z[b], others, temperature) for b in range(9)]
        expected.append(sum(terms))
    rows = info_nce.info_nce_rows(z, [(weights, negative)], temperature=temperature)
    np.testing.assert_allclose(numpy(rows), expected, rtol=1e-5, atol=1e-5)


def test_softmax_terms_equal_the_loops():
    rng = np.random.default_rng(0)
    anchor, *candidates = rng.normal(size=(5, 3))
    unit = [z / np.linalg.norm(z) for z in (anchor, *candidates)]
    logits = np.array([[unit[0] @ z / 0.3 for z in unit[1:]]], np.float32)
    for mask in ([True] * 4, [True, False, True, False]):
        terms = numpy(info_nce.softmax_terms(ops.convert_to_tensor(logits), np.array([mask])))[0]
        assert np.all(np.isfinite(terms))
        for b in np.flatnonzero(mask):
            others = [candidates[r] for r in np.flatnonzero(mask) if r != b]
            assert terms[b] == pytest.approx(reference.term(anchor, candidates[b], others, 0.3), rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e18, 1e30, 3e38])
@pytest.mark.parametrize("case", ["usual", "no positive", "no negative"])
def test_value_and_gradient_stay_finite(scale, case):
    z = np.random.default_rng(0).uniform(-1, 1, size=(6, 4)).astype(np.float32) * np.float32(scale)
    z[0] = 0.0
    weights = np.ones((6, 6), np.float32) - np.eye(6, dtype=np.float32)
    negative = weights > 0
    if case == "no positive":
        weights[2:4] = 0
    if case == "no negative":
        negative[2:4] = False

    def loss(z):
        return ops.sum(info_nce.info_nce_rows(z, [(weights, negative)], temperature=0.005))

    value, (grad,) = value_and_grad(loss, z)
    assert np.isfinite(value) and np.all(np.isfinite(grad))


def test_gradient_equals_finite_differences_of_the_loops():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 3))
    positive = np.roll(np.eye(5), 1, axis=1).astype(np.float32)
    negative = (np.eye(5) + positive) == 0

    def loops(z):
        return sum(
            reference.term(z[a], z[(a + 1) % 5], [z[r] for r in range(5) if negative[a, r]], 0.5) for a in range(5)
        )

    def loss(z):
        return ops.sum(info_nce.info_nce_rows(z, [(positive, negative)], temperature=0.5))

    expected = np.zeros_like(z)
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-6
        expected[index] = (loops(z + step) - loops(z - step)) / 2e-6
    np.testing.assert_allclose(value_and_grad(loss, z)[1][0], expected, rtol=1e-4, atol=1e-5)
