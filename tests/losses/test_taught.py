"""Expected values: cases by hand, and plain loops (`tests.reference.taught`)."""

from __future__ import annotations

import numpy as np
import pytest

import losses
from losses.pixels import batch_dice
from tests.backend import evaluate, value_and_grad
from tests.reference import taught as reference


def _logits(rows, seed=0, scale=2.0, side=5):
    return np.random.default_rng(seed).normal(size=(rows, side, side + 1, 3)).astype("float32") * scale


def _boxes(rows, seed=1, side=5):
    return (np.random.default_rng(seed).random((rows, side, side + 1, 2)) < 0.4).astype("float32")


def _mixed_targets(rows, seed=2):
    rng = np.random.default_rng(seed)
    known = np.eye(3)[rng.integers(3, size=(rows, 5, 6))]
    return np.concatenate([known, rng.random((rows, 5, 6, 1)) < 0.5], axis=-1).astype("float32")


def test_dice_of_a_batch_by_hand():
    """One class, two pixels in two images: 2 (1 * .5 * 1 + .5 * 1 * 0) / (1 (.25 + 1) + .5 (1 + 0)) = 1 / 1.75."""
    probabilities, labels = np.array([[[0.5]], [[1.0]]], "float32"), np.array([[[1.0]], [[0.0]]], "float32")
    weights = np.array([[[1.0]], [[0.5]]], "float32")
    assert float(batch_dice(probabilities, labels, weights)) == pytest.approx(1 - 1 / 1.75, abs=1e-5)


def test_confident_pixels_that_agree_cost_nothing_and_others_do_not_count():
    teacher = np.zeros((2, 1, 2, 2), "float32")
    teacher[:, 0, 0] = [20, 0]  # certain
    teacher[:, 0, 1] = [0, 0.1]  # not
    agree, no_boxes = 20 * (teacher - 10), np.zeros((2, 1, 2, 2), "float32")
    agree[:, 0, 1] = [9, -9]
    loss = losses.WeakToStrong(0.95)
    assert float(loss(no_boxes, np.concatenate([teacher] + [agree] * 3))) == pytest.approx(0, abs=1e-4)
    disagree = agree.copy()
    disagree[:, 0, 0] = [-20, 20]
    # Class 0 scores 0; class 1, which is predicted once an image and wanted nowhere, 0 too.
    assert float(loss(no_boxes, np.concatenate([teacher, disagree, agree, agree]))) == pytest.approx(0.5, abs=1e-3)
    assert float(loss(no_boxes, np.concatenate([teacher, agree, disagree, agree]))) == pytest.approx(0.25, abs=1e-3)


def test_a_box_shows_the_row_before():
    """Row 0 is class 0, row 1 is class 1. With boxes over all, what fits is the exchanged prediction."""
    teacher = np.zeros((2, 4, 4, 2), "float32")
    teacher[0, ..., 0] = teacher[1, ..., 1] = 20
    boxes = np.zeros((2, 4, 4, 2), "float32")
    boxes[..., 1] = 1
    right = np.concatenate([teacher, teacher, teacher, teacher[::-1]])
    assert float(losses.WeakToStrong()(boxes, right)) == pytest.approx(0, abs=1e-4)
    assert float(losses.WeakToStrong()(boxes, np.concatenate([teacher] * 4))) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("drops_features", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_weak_to_strong_equals_plain_loops(soft, drops_features, rows):
    boxes, logits = _boxes(rows), _logits(rows * (3 + drops_features))
    settings = {"confidence": 0.7, "soft": soft, "drops_features": drops_features}
    expected = reference.weak_to_strong(boxes, logits, **settings)
    assert float(losses.WeakToStrong(**settings)(boxes, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("largest_component", [True, False])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_copy_paste_equals_plain_loops(soft, alpha, largest_component):
    known, logits = _mixed_targets(3), _logits(6)
    settings = {"soft": soft, "largest_component": largest_component}
    # With hard targets the confidence does not weigh.
    expected = reference.copy_paste(known, logits, alpha=alpha, **settings)
    assert evaluate(losses.CopyPaste(alpha, **settings), known, logits) == pytest.approx(expected, rel=1e-5)


def test_copy_paste_takes_the_teachers_islands_for_background():
    """Class 1 is a square and one pixel far from it, which is background if islands go: where the student says so too,
    the loss is 0."""
    answer = np.zeros((1, 6, 6), int)
    answer[0, :3, :3] = answer[0, 5, 5] = 1
    kept = answer.copy()
    kept[0, 5, 5] = 0
    all_unlabelled = np.zeros((1, 6, 6, 3), "float32")
    all_unlabelled[..., -1] = 1
    for largest_component, soft, fits in ((True, False, kept), (False, False, answer), (True, True, answer)):
        loss = losses.CopyPaste(soft=soft, largest_component=largest_component)
        right, wrong = fits, answer + kept - fits
        values = [
            evaluate(loss, all_unlabelled, 30 * np.eye(2, dtype="float32")[[answer[0], x[0]]]) for x in (right, wrong)
        ]
        assert values[0] == pytest.approx(0, abs=1e-5) and values[1] > 0.1


def test_copy_paste_of_labelled_pixels_is_the_supervised_loss():
    known, logits = _mixed_targets(2), _logits(4)
    known[..., -1] = 0
    other = logits.copy()
    other[:2] = _logits(2, seed=9)
    loss = losses.CopyPaste()
    assert evaluate(loss, known, logits) == evaluate(loss, known, other)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name, y_true", [("weak_to_strong", _boxes(2)), ("copy_paste", _mixed_targets(2))])
def test_the_teachers_rows_get_no_gradient_and_all_others_do(name, y_true, soft):
    loss = losses.get(name)(soft=soft)
    _, gradient = value_and_grad(
        lambda logits: loss(y_true, logits), _logits(8 if name == "weak_to_strong" else 4, scale=3)
    )
    gradient = np.asarray(gradient[0])
    assert not gradient[:2].any()
    assert (np.abs(gradient[2:]).max(axis=(1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name, y_true", [("weak_to_strong", _boxes(2)), ("copy_paste", _mixed_targets(2))])
def test_a_shift_of_all_logits_of_a_pixel_changes_nothing(name, y_true):
    loss = losses.get(name)()
    logits = _logits(8 if name == "weak_to_strong" else 4)
    assert float(loss(y_true, logits + 100)) == pytest.approx(float(loss(y_true, logits)), rel=1e-4)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="confidence"):
        losses.WeakToStrong(1.0)
    with pytest.raises(ValueError, match="alpha"):
        losses.CopyPaste(1.5)
    with pytest.raises(ValueError, match="4 times as many rows"):
        losses.WeakToStrong()(_boxes(2), _logits(6))
    with pytest.raises(ValueError, match="2 times as many rows"):
        losses.CopyPaste()(_mixed_targets(2), _logits(6))
