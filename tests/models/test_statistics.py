"""Statistics measured anew. Expected values: the means of batches by hand, layer after layer."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import models
from models.layers import BatchNormalization
from tests.models.networks import number


@pytest.fixture(name="batches")
def _batches():
    return np.random.default_rng(0).normal(1.0, 2.0, (3, 4, 8, 8, 1)).astype(np.float32)


def test_means_of_all_batches_without_dropout(batches):
    image = keras.Input((8, 8, 1))
    dropped = keras.layers.Dropout(0.5, name="dropout")(image)
    normalisation = BatchNormalization(use_bias=False, momentum=0.9, name="bn")
    model = keras.Model(image, normalisation(dropped))
    models.estimate_statistics(model, iter(batches))
    np.testing.assert_allclose(number(normalisation.moving_mean), [batches.mean()], rtol=1e-5)
    np.testing.assert_allclose(number(normalisation.moving_variance), [batches.var((1, 2, 3, 4)).mean()], rtol=1e-5)
    assert normalisation.momentum == 0.9


def test_nothing_else_changes_and_earlier_statistics_do_not_matter(batches):
    model = models.build_scribble_unet((8, 8, 1), 3, branches=2, widths=(2, 4), dropout=(0.1, 0.5), seed=1)
    main = models.main_branch(model)
    before = models.read_weights(model)
    models.estimate_statistics(main, batches)
    once = models.read_weights(model)
    changed = {name for name in before if not np.array_equal(before[name], once[name])}
    assert changed and all("moving" in name and not name.startswith("aux") for name in changed)
    assert len(changed) == 2 * sum(isinstance(layer, BatchNormalization) for layer in main.layers)
    model(batches[0] * 100, training=True)
    models.estimate_statistics(main, batches)
    again = models.read_weights(model)
    for name in changed:
        np.testing.assert_allclose(again[name], once[name], rtol=1e-5, atol=1e-6)


def test_inference_equals_training_without_dropout(batches):
    """Of one batch, normalised by its own statistics in both."""
    model = models.build_scribble_unet((8, 8, 1), 3, branches=1, widths=(2, 4), dropout=(0.0, 0.0), seed=1)
    models.estimate_statistics(model, batches[:1])
    with_dropout = models.build_scribble_unet((8, 8, 1), 3, branches=1, widths=(2, 4), dropout=(0.2, 0.5), seed=1)
    models.estimate_statistics(with_dropout, batches[:1])
    expected = number(model(batches[0], training=True))
    np.testing.assert_allclose(number(model(batches[0])), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(number(with_dropout(batches[0])), expected, rtol=1e-3, atol=1e-4)


def test_no_batch():
    model = models.build_scribble_unet((8, 8, 1), 3, branches=1, widths=(2, 4), dropout=(0.0, 0.0))
    with pytest.raises(ValueError, match="at least one batch"):
        models.estimate_statistics(model, [])
