"""Losses of one-hot or soft labels, and `segmentation_loss`, which chooses one of them.

Expected values: by hand, and loops of tests/reference/segmentation_losses.py; golden numbers of the published code.
"""

import numpy as np
import pytest
from keras import ops

from losses import CrossEntropy, Dice, Mixture, segmentation_loss
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden_param
from tests.reference import segmentation_losses as reference

WEIGHTS = (0.1, 0.3, 0.6)


def case(num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 4, 5, num_classes)).astype(np.float32) * 3
    labels = rng.dirichlet(np.ones(num_classes), size=(2, 4, 5)).astype(np.float32)
    return logits, labels


def test_dice_of_two_pixels_by_hand():
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
def test_dice_equals_the_loops(with_background, num_classes):
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


def test_cross_entropy_of_a_uniform_prediction_by_hand():
    labels = np.eye(4)[[[[0, 1, 2]]]]
    logits = np.zeros((1, 1, 3, 4))
    assert evaluate(CrossEntropy(), labels, logits) == pytest.approx(np.log(4))
    weighted = CrossEntropy((0.1, 0.3, 0.5, 0.0))
    assert evaluate(weighted, labels, logits) == pytest.approx(np.log(4) * 0.9 / 3)


@pytest.mark.parametrize("weights", [None, (0.1, 0.3, 0.6)])
def test_cross_entropy_equals_the_loops(weights):
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


def test_mixture_is_the_sum_of_its_parts_per_image():
    logits, labels = case()
    parts = [Dice(reduction=None), CrossEntropy((1, 2, 3), reduction=None)]
    expected = sum(ops.convert_to_numpy(part(labels, logits)) for part in parts)
    rows = ops.convert_to_numpy(Mixture(parts, reduction=None)(labels, logits))
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_mixture_needs_a_part():
    with pytest.raises(ValueError, match="at least one loss"):
        Mixture([])


@pytest.mark.parametrize("dsc_loss", [0, 1, 2, 3, 4])
def test_number_selects_the_loss(dsc_loss):
    logits, labels = case()
    without, with_background = (reference.dice_loss(logits, labels, first) for first in (1, 0))
    plain, weighted = (reference.cross_entropy(logits, labels, weights) for weights in (None, WEIGHTS))
    expected = [weighted, without, with_background, with_background + plain, without + weighted][dsc_loss]
    assert evaluate(segmentation_loss(dsc_loss, WEIGHTS), labels, logits) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dsc_loss", [0, 4])
def test_weights_must_be_given_where_they_are_used(dsc_loss):
    with pytest.raises(ValueError, match=f"`class_weights` must be given for dsc_loss={dsc_loss}"):
        segmentation_loss(dsc_loss)


def test_unknown_number():
    with pytest.raises(ValueError, match="`dsc_loss` must be one of 0, 1, 2, 3, 4. Received: dsc_loss=7"):
        segmentation_loss(7)


@pytest.mark.golden
@pytest.mark.parametrize("labels", ["hard", "absent", "soft"])
@pytest.mark.parametrize("path", golden_param("contrastive/losses", "seg_losses_K*.npz"))
def test_golden_value_and_gradient(path, labels):
    with np.load(path) as data:
        weights = data["class_weights"]
        losses = {
            "dice_with_bg": segmentation_loss(2),
            "dice_without_bg": segmentation_loss(1),
            "ce": CrossEntropy(),
            "wce": segmentation_loss(0, weights),
        }
        y_true = data[f"labels_{labels}"]
        for name, loss in losses.items():
            value, (grad,) = value_and_grad(lambda z, loss=loss: loss(y_true, z), data["logits"])
            assert value == pytest.approx(float(data[f"{name}_{labels}"]), rel=1e-6, abs=1e-6), name
            np.testing.assert_allclose(grad, data[f"grad_{name}_{labels}"], rtol=1e-6, atol=1e-6, err_msg=name)


def test_absent_class_keeps_a_small_gradient():
    labels = np.eye(2)[np.zeros((1, 4, 4), int)]
    _, (grad,) = value_and_grad(lambda z: Dice(with_background=False)(labels, z), np.zeros((1, 4, 4, 2)))
    assert np.all(np.isfinite(grad))
