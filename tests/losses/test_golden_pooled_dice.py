"""The Dice loss with pooled classes against the published one (golden/albaselines), in training and in validation."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.evaluate.validation import dice_loss_per_slice
from fewslice.train.predict import softmax
from losses import PooledDice
from tests.backend import evaluate
from tests.golden_files import golden_param


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "metrics_loss*.npz"))
def test_golden_loss(path):
    data = np.load(path)
    logits, labels = data["loss_logits"].transpose(0, 2, 3, 1), data["loss_target"].astype(int)
    expected = pytest.approx(float(data["kornia_dice_loss"]), rel=1e-6)
    assert evaluate(PooledDice(), labels, logits) == expected
    assert dice_loss_per_slice(softmax(logits.astype(np.float64)), labels, pooled=True).mean() == expected


def test_without_known_pixels_there_is_no_gradient_and_validation_counts_what_is_known():
    probabilities = np.array([[[[0.25, 0.75], [0.5, 0.5]]]])
    assert dice_loss_per_slice(probabilities, np.array([[[1, 2]]]), pooled=True) == pytest.approx(0.25)
    assert evaluate(PooledDice(2), np.full((1, 1, 2), 2), np.log(probabilities)) == 1
    assert evaluate(PooledDice(2), np.array([[[1, 2]]]), np.log(probabilities)) == pytest.approx(0.25)
