"""Expected values: loops of tests/reference/segmentation_losses.py; golden numbers of the published code."""

import numpy as np
import pytest

from losses import CrossEntropy, Dice, segmentation_loss
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden_param
from tests.losses.test_dice import case
from tests.reference import segmentation_losses as reference

WEIGHTS = (0.1, 0.3, 0.6)


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
