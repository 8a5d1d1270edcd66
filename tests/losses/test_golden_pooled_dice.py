"""The Dice loss with pooled classes against the published one (golden/albaselines), in training and in validation."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.evaluate.validation import dice_loss_per_slice
from fewslice.train.predict import softmax
from losses import Dice
from tests.backend import evaluate
from tests.golden_files import golden_param


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "metrics_loss*.npz"))
def test_golden_loss(path):
    data = np.load(path)
    logits, labels = data["loss_logits"].transpose(0, 2, 3, 1), data["loss_target"].astype(int)
    expected = pytest.approx(float(data["kornia_dice_loss"]), rel=1e-6)
    assert evaluate(Dice(pooled=True), np.eye(logits.shape[-1])[labels], logits) == expected
    assert dice_loss_per_slice(softmax(logits.astype(np.float64)), labels, pooled=True).mean() == expected


def test_only_what_is_known_counts():
    """By hand: one known pixel, whose class has probability 3/4; and none."""
    probabilities = np.array([[[[0.25, 0.75], [0.5, 0.5]]]])
    assert dice_loss_per_slice(probabilities, np.array([[[1, 2]]]), pooled=True) == pytest.approx(0.25)
    for hot, expected in (([[[[0, 1], [0, 0]]]], 0.25), (np.zeros((1, 1, 2, 2)), 1.0)):
        found = evaluate(Dice(pooled=True), np.array(hot, float), np.log(probabilities))
        assert found == pytest.approx(expected, rel=1e-6)
