"""Validation.

Expected values: `tests/reference/metrics.py` (loops).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.evaluate import validation
from tests.evaluate import fakes
from tests.reference import metrics as reference

CONFIG = fakes.dataset(4, resolution=2.0, size=(6, 6))


def _volumes():
    rng = np.random.default_rng(0)
    for index, depth in enumerate((2, 3)):
        label = rng.integers(0, 3, (6, 6, depth))  # structure 3 occurs nowhere
        yield fakes.item(CONFIG, rng.normal(size=label.shape), label, (2, 2, 10), case_id=f"{index}")


def _probabilities(image):
    """Random but fixed; class 3 is never the most probable one."""
    result = np.random.default_rng(image.shape[0]).dirichlet(np.ones(4), image.shape[:3])
    result[..., 3] *= 0.01
    return (result / result.sum(-1, keepdims=True)).astype(np.float32)


def test_validate_equals_loops():
    items = [(prepared, native.label) for prepared, native in _volumes()]
    result = validation.validate(items, _probabilities, dataset=CONFIG)
    dice, losses = [], []
    for prepared, truth in items:
        probabilities = _probabilities(prepared.image[..., np.newaxis])
        predicted = np.moveaxis(probabilities.argmax(-1), 0, -1)  # the grids agree, nothing is resampled
        dice.append(reference.dice(truth, predicted, 4)[1:])
        losses += reference.dice_loss_per_slice(probabilities, prepared.label)
    dice = np.array(dice)
    assert np.isnan(dice[:, 2]).all()
    found = [result[f"val_dice_{name}"] for name in "abc"]
    np.testing.assert_allclose(found, [*dice[:, :2].mean(axis=0), math.nan], rtol=1e-12)
    assert result["val_dice"] == pytest.approx(dice[:, :2].mean())
    assert result["val_dice_loss"] == pytest.approx(np.mean(losses), rel=1e-6) and len(losses) == 5


def test_without_a_structure_there_is_no_dice():
    items = [(prepared, native.label * 0) for prepared, native in _volumes()]
    result = validation.validate(items, _probabilities, dataset=CONFIG)
    assert math.isnan(result["val_dice"]), "0 whatever the network finds would choose the first validation"
    assert validation.validate([*_items(), items[0]], _probabilities, dataset=CONFIG)["val_dice"] > 0


def _items():
    return [(prepared, native.label) for prepared, native in _volumes()]


def test_confident_pixels_by_hand():
    """Five pixels: a structure found, confident; missed without and with confidence; seen where none is; background."""
    probabilities = np.array([[0.1, 0.9], [0.6, 0.4], [0.8, 0.2], [0.2, 0.8], [1.0, 0.0]])
    label = np.array([1, 1, 1, 0, 0])
    assert validation.confident_pixels(probabilities, label, 0.8).tolist() == [4, 3, 1]
    assert validation.confident_pixels(probabilities, label, 0.95).tolist() == [4, 0, 0]


def test_the_log_tells_how_many_confident_pixels_are_right():
    items = [(prepared, native.label) for prepared, native in _volumes()]
    counts = sum(
        validation.confident_pixels(_probabilities(prepared.image[..., np.newaxis]), prepared.label, 0.6)
        for prepared, _ in items
    )
    assert 0 < counts[2] < counts[1] < counts[0]
    row = validation.validate(items, _probabilities, dataset=CONFIG, confidence=0.6)
    plain = ["val_dice", "val_dice_a", "val_dice_b", "val_dice_c", "val_dice_loss"]
    assert list(row) == [*plain, "val_confident", "val_confident_right"]
    assert (row["val_confident"], row["val_confident_right"]) == (counts[1] / counts[0], counts[2] / counts[1])
    none = validation.validate(items, _probabilities, dataset=CONFIG, confidence=1)
    assert none["val_confident"] == 0 and "val_confident_right" not in none


def test_validate_refuses_nothing():
    with pytest.raises(ConfigError, match="no volume to validate on"):
        validation.validate([], _probabilities, dataset=CONFIG)


def test_dice_loss_of_a_perfect_slice():
    label = np.arange(16).reshape(1, 4, 4) % 4
    loss = validation.dice_loss_per_slice(np.eye(4, dtype=np.float32)[label], label)
    np.testing.assert_allclose(loss, [0.0], atol=1e-9)
    absent = np.zeros((1, 4, 4), int)  # three classes absent from truth and prediction: each scores 0
    loss = validation.dice_loss_per_slice(np.eye(4, dtype=np.float32)[absent], absent)
    np.testing.assert_allclose(loss, [0.75], atol=1e-9)
