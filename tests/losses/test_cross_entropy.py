"""Expected values: by hand, and loops of tests/reference/segmentation_losses.py."""

import numpy as np
import pytest

from losses import CrossEntropy
from tests.backend import evaluate, value_and_grad
from tests.losses.test_dice import case
from tests.reference import segmentation_losses as reference


def test_uniform_prediction_by_hand():
    labels = np.eye(4)[[[[0, 1, 2]]]]
    logits = np.zeros((1, 1, 3, 4))
    assert evaluate(CrossEntropy(), labels, logits) == pytest.approx(np.log(4))
    weighted = CrossEntropy((0.1, 0.3, 0.5, 0.0))
    assert evaluate(weighted, labels, logits) == pytest.approx(np.log(4) * 0.9 / 3)


@pytest.mark.parametrize("weights", [None, (0.1, 0.3, 0.6)])
def test_equals_the_loops(weights):
    logits, labels = case()
    expected = reference.cross_entropy(logits, labels, weights)
    assert evaluate(CrossEntropy(weights), labels, logits) == pytest.approx(expected, rel=1e-6)


def test_certain_and_wrong_stays_finite():
    labels = np.eye(2)[[[[0]]]]
    value, (grad,) = value_and_grad(lambda z: CrossEntropy()(labels, z), np.array([[[[-1e4, 1e4]]]]))
    assert value == pytest.approx(2e4) and np.all(np.isfinite(grad))


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)])
def test_wrong_weights(weights):
    with pytest.raises(ValueError, match="`class_weights` must be non-negative"):
        CrossEntropy(weights)


def test_one_weight_per_class():
    with pytest.raises(ValueError, match="one value per class. Received: 2 weights"):
        CrossEntropy((0.1, 0.9))(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3)))
