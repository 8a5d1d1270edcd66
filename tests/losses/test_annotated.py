"""Losses on integer labels. Expected values: by hand, and loops of tests/reference/annotated_losses.py."""

import numpy as np
import pytest

from losses import CrossEntropyDice, DynamicPseudoLabel, PartialCrossEntropy, StrongSegmentation, mixing_targets
from tests.backend import evaluate, value_and_grad
from tests.reference import annotated_losses as reference

IGNORE = 255
SINGLE = {
    "partial": (PartialCrossEntropy, reference.partial_cross_entropy),
    "strong": (StrongSegmentation, reference.strong_segmentation),
    "cross_entropy_dice": (CrossEntropyDice, reference.cross_entropy_dice),
}


def case(num_classes=3, unknown=0.6, seed=0):
    """Returns logits of two decoders (2, 4, 5, K) and labels (2, 4, 5)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 2, 4, 5, num_classes)).astype(np.float32) * 3
    labels = rng.integers(num_classes, size=(2, 4, 5))
    return *logits, np.where(rng.random(labels.shape) < unknown, IGNORE, labels)


def both(one, other):
    return np.stack([one, other], axis=-2)


def test_one_scribbled_pixel_by_hand():
    labels = np.full((1, 2, 2), IGNORE)
    labels[0, 0, 1] = 1
    logits = np.zeros((1, 2, 2, 2))
    logits[0, 0, 1] = [0.0, np.log(3.0)]  # p = 1/4, 3/4
    assert evaluate(PartialCrossEntropy(IGNORE), labels, logits) == pytest.approx(np.log(4 / 3), rel=1e-6)


def test_pseudo_label_by_hand():
    # p_1 = (3/4, 1/4), p_2 = (1/4, 3/4): with b = 0.9 the pseudo-label is class 0, with 0.1 class 1.
    one, other = np.log([[[[3.0, 1.0]]]]), np.log([[[[1.0, 3.0]]]])
    unknown = np.full((1, 1, 1), IGNORE)
    right, wrong = 2 * 0.75 / (0.75**2 + 1), 2 * 0.25 / (0.25**2 + 1)  # the absent class scores 0 (but for 1e-5)
    expected = 0.5 * (1 - (right / 2 + wrong / 2) / 2)
    for share in (0.9, 0.1):
        value = evaluate(DynamicPseudoLabel(IGNORE), mixing_targets(unknown, share), both(one, other))
        assert value == pytest.approx(expected, abs=1e-4)
    loss = DynamicPseudoLabel(IGNORE)
    _, (grad,) = value_and_grad(lambda x: loss(mixing_targets(unknown, 0.9), x), both(one, other))
    assert grad[0, 0, 0, 0, 0] < 0 and grad[0, 0, 0, 1, 0] < 0, "both decoders move to class 0"


@pytest.mark.parametrize("ignore", [IGNORE, 7, None])
@pytest.mark.parametrize("name", SINGLE)
def test_equals_the_loops(name, ignore):
    cls, expected = SINGLE[name]
    logits, _, labels = case(num_classes=4, unknown=0.5 if ignore else 0.0)
    labels[labels == IGNORE] = ignore or 0
    assert evaluate(cls(ignore), labels, logits) == pytest.approx(expected(logits, labels, ignore), rel=1e-5)


@pytest.mark.parametrize("weights", [{}, {"partial_weight": 0.3, "pseudo_weight": 2.0}])
@pytest.mark.parametrize("share", [0.0, 0.31, 1.0])
def test_dynamic_pseudo_label_equals_the_loops(share, weights):
    one, other, labels = case()
    value = evaluate(DynamicPseudoLabel(IGNORE, **weights), mixing_targets(labels, share), both(one, other))
    expected = reference.dynamic_pseudo_label(one, other, labels, share, IGNORE, **weights)
    assert value == pytest.approx(expected, rel=1e-5)


def test_nothing_annotated_gives_zero_and_no_gradient():
    one, other, labels = case(unknown=2.0)
    value, (grad,) = value_and_grad(lambda x: PartialCrossEntropy(IGNORE)(labels, x), one)
    assert value == 0 and not grad.any()
    loss = DynamicPseudoLabel(IGNORE, pseudo_weight=0.0)
    value, (grad,) = value_and_grad(lambda x: loss(mixing_targets(labels, 0.5), x), both(one, other))
    assert value == 0 and not grad.any()


def test_unknown_pixels_get_no_gradient_from_the_annotation():
    one, _, labels = case()
    for cls, _ in SINGLE.values():
        _, (grad,) = value_and_grad(lambda x, cls=cls: cls(IGNORE)(labels, x), one)
        assert not grad[labels == IGNORE].any() and np.abs(grad[labels != IGNORE]).sum(axis=-1).all()


def test_wrong_arguments_are_named():
    for value in (-1, 1.5, True):
        with pytest.raises(ValueError, match="`ignore_value` must be an integer, 0 or more, or None"):
            PartialCrossEntropy(value)
    with pytest.raises(ValueError, match="`pseudo_weight` must not be negative"):
        DynamicPseudoLabel(4, pseudo_weight=-1)
    with pytest.raises(ValueError, match=r"`share` must lie in \[0, 1\]. Received: share=2"):
        mixing_targets(np.zeros((1, 2, 2), int), 2)
    with pytest.raises(ValueError, match="`y_true` must hold one class per pixel"):
        StrongSegmentation()(np.zeros((2, 4, 5)), np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match="from `mixing_targets`"):
        DynamicPseudoLabel(4)(np.zeros((2, 4, 5, 2)), np.zeros((2, 4, 5, 3)))
