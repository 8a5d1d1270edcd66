"""Segmentation losses where labels are known in part: a pixel without any class counts nowhere.

Expected values: by hand, and the same loss of the known pixels alone.
"""

import numpy as np
import pytest

from losses import CopyPaste, CrossEntropy, Dice, segmentation_loss
from tests.backend import evaluate, value_and_grad


def row(classes, num_classes=2):
    """One image of one row, one-hot; None is not known."""
    table = np.eye(num_classes + 1, num_classes)
    return table[[[[num_classes if each is None else each for each in classes]]]].astype(np.float32)


def odds(*of_first):
    """Logits of one row of two classes whose first has these probabilities."""
    p = np.array(of_first)
    return np.stack([np.log(p), np.log(1 - p)], axis=-1)[None, None].astype(np.float32)


def test_cross_entropy_by_hand():
    # -log 0.5 and -log 0.8 of the two known pixels of four
    labels, logits = row([0, 1, None, None]), odds(0.5, 0.2, 0.9, 0.1)
    assert evaluate(CrossEntropy(), labels, logits) == pytest.approx((np.log(2) + np.log(1.25)) / 2, rel=1e-5)
    expected = (0.1 * np.log(2) + 0.9 * np.log(1.25)) / 2
    assert evaluate(CrossEntropy((0.1, 0.9)), labels, logits) == pytest.approx(expected, rel=1e-5)


def test_dice_by_hand():
    # class 0: 2 * 0.5 / (0.5 + 0.2 + 1); class 1: 2 * 0.8 / (0.5 + 0.8 + 1)
    labels, logits = row([0, 1, None, None]), odds(0.5, 0.2, 0.9, 0.1)
    assert evaluate(Dice(), labels, logits) == pytest.approx(1 - (1 / 1.7 + 1.6 / 2.3) / 2, rel=1e-5)


def test_copy_paste_by_hand():
    """Of a mixed row the first pixel is labelled, the second of that image too but not known, the third unlabelled."""
    known = np.concatenate([row([0, None, None]), np.array([[[[0.0], [0.0], [1.0]]]])], axis=-1)
    taught, mixed = odds(0.5, 0.5, 0.9), odds(0.5, 0.3, 0.8)
    entropy = (np.log(2) + 0.5 * -np.log(0.8)) / 1.5
    scores = [
        2 * (0.5 + 0.5 * 0.8) / (0.25 + 1 + 0.5 * (0.64 + 1)),
        0.0,
    ]
    dice = 1 - np.mean(scores)
    value = evaluate(CopyPaste(), known.astype(np.float32), np.concatenate([taught, mixed]))
    assert value == pytest.approx(0.5 * (dice + entropy), rel=1e-3)


@pytest.mark.parametrize("number", range(5))
def test_unknown_pixels_change_neither_value_nor_gradient(number):
    rng = np.random.default_rng(number)
    loss, logits = segmentation_loss(number, (0.2, 0.3, 0.5)), rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=(2, 3, 4))]
    labels[:, 2] = 0
    value, (_, gradient) = value_and_grad(loss, labels, logits)
    assert value == pytest.approx(evaluate(loss, labels[:, :2], logits[:, :2]), rel=1e-5)
    assert not gradient[:, 2].any() and gradient[:, :2].any()


@pytest.mark.parametrize("number", range(5))
def test_an_image_without_known_pixels_teaches_nothing(number):
    labels, logits = np.zeros((1, 2, 2, 3), np.float32), np.ones((1, 2, 2, 3), np.float32)
    value, (_, gradient) = value_and_grad(segmentation_loss(number, (0.2, 0.3, 0.5)), labels, logits)
    assert np.isfinite(value) and not gradient.any()
