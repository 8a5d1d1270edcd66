"""Expected values: the sum of the parts, each tested in its own file."""

import keras
import numpy as np
import pytest

from losses import CrossEntropy, Dice, Mixture
from tests.backend import evaluate
from tests.losses.test_dice import case


def test_is_the_sum_of_its_parts_per_image():
    logits, labels = case()
    parts = [Dice(reduction=None), CrossEntropy((1, 2, 3), reduction=None)]
    expected = sum(keras.ops.convert_to_numpy(part(labels, logits)) for part in parts)
    rows = keras.ops.convert_to_numpy(Mixture(parts, reduction=None)(labels, logits))
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_config_round_trip():
    logits, labels = case()
    loss = Mixture([Dice(with_background=False), CrossEntropy((1, 2, 3))], name="both")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert evaluate(copy, labels, logits) == evaluate(loss, labels, logits)


def test_needs_a_part():
    with pytest.raises(ValueError, match="at least one loss"):
        Mixture([])
