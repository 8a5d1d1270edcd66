"""Expected values: by hand, and loops of tests/reference/segmentation_losses.py."""

import numpy as np
import pytest
from keras import ops

from losses import Dice
from tests.backend import evaluate
from tests.reference import segmentation_losses as reference


def case(num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 4, 5, num_classes)).astype(np.float32) * 3
    labels = rng.dirichlet(np.ones(num_classes), size=(2, 4, 5)).astype(np.float32)
    return logits, labels


def test_two_pixels_by_hand():
    # p = 1/2 everywhere, one pixel of each class: score 2 * 0.5 / (1 + 1) = 0.5 for both classes.
    labels = np.eye(2).reshape(1, 1, 2, 2)
    assert evaluate(Dice(), labels, np.zeros((1, 1, 2, 2))) == pytest.approx(0.5)


def test_absent_class_counts_as_missed():
    # Certain and right on class 0; class 1 is neither present nor predicted and scores 0.
    labels = np.eye(2)[[[[0, 0]]]]
    logits = np.array([[[[30.0, -30.0], [30.0, -30.0]]]])
    assert evaluate(Dice(), labels, logits) == pytest.approx(0.5)
    assert evaluate(Dice(with_background=False), labels, logits) == pytest.approx(1.0)


@pytest.mark.parametrize("with_background", [True, False])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_equals_the_loops(with_background, num_classes):
    logits, labels = case(num_classes)
    expected = reference.dice_loss(logits, labels, 0 if with_background else 1)
    assert evaluate(Dice(with_background=with_background), labels, logits) == pytest.approx(expected, rel=1e-6)


def test_one_value_per_image_whatever_the_spatial_axes():
    logits, labels = case()
    rows = Dice(reduction=None)(labels, logits)
    assert tuple(rows.shape) == (2,)
    volume = Dice(reduction=None)(labels[:, None], logits[:, None])
    np.testing.assert_allclose(ops.convert_to_numpy(volume), ops.convert_to_numpy(rows), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 2), (2, 4, 4, 3)])
def test_labels_must_have_the_shape_of_the_logits(shape):
    with pytest.raises(ValueError, match="`y_true` must hold one value per class"):
        Dice()(np.zeros(shape), np.zeros((2, 4, 5, 3)))
