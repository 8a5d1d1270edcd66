"""Heads at coarser levels. Expected values: means over squares worked out by hand; the network without heads."""

from __future__ import annotations

import numpy as np
import pytest

import models


def test_targets_are_means_over_squares_and_unknown_where_a_pixel_is():
    labels = np.zeros((1, 4, 4, 2), np.float32)
    labels[..., 0] = 1
    labels[0, 0, 0] = 0, 1  # a quarter of the first square is foreground
    labels[0, 3, 3] = 0  # not annotated
    found = models.at_scales(labels, {"logits": 1, "logits_2": 2})
    assert found["logits"] is labels
    np.testing.assert_array_equal(found["logits_2"][0, 0], [[0.75, 0.25], [1, 0]])
    np.testing.assert_array_equal(found["logits_2"][0, 1], [[1, 0], [0, 0]])


def test_weights_are_halved_from_scale_to_scale():
    weights = models.loss_weights(["logits", "logits_2", "logits_4"])
    assert list(weights.values()) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_heads_share_the_network_and_the_finest_output_is_its_own():
    arch = models.Architecture((8, 8, 16, 16), "instance")
    unet = models.build_unet((32, 48, 1), 3, arch=arch)
    scales = models.scales(arch)
    deep = models.with_deep_heads(unet, scales)
    image = np.random.default_rng(0).random((2, 32, 48, 1), np.float32)
    found = deep.predict_on_batch(image)
    assert {name: each.shape[1:3] for name, each in found.items()} == {
        name: (32 // factor, 48 // factor) for name, factor in scales.items()
    }
    assert list(scales.values()) == [1, 2, 4]
    np.testing.assert_array_equal(found["logits"], unet.predict_on_batch(image))
    assert set(models.read_weights(unet)) < set(models.read_weights(deep))
