"""Changes of colour. Expected values: PIL on 8-bit images, `colorsys`, by hand."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from fewslice.augment import colour_jitter as jitter

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
IMAGE = PIXELS.astype(np.float32) / 255


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.83, 1.0, 1.5])
@pytest.mark.parametrize(
    ("change", "enhance"),
    [
        (jitter.adjust_brightness, ImageEnhance.Brightness),
        (jitter.adjust_contrast, ImageEnhance.Contrast),
        (jitter.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_factors_are_those_of_pil(change, enhance, factor):
    expected = np.asarray(enhance(Image.fromarray(PIXELS)).enhance(factor)) / 255
    np.testing.assert_allclose(change(IMAGE, factor), expected, atol=1.6 / 255)  # it rounds twice


@pytest.mark.parametrize("shift", [-0.5, -0.05, 0.0, 0.05, 0.31])
def test_hue_is_that_of_colorsys(shift):
    found = jitter.adjust_hue(IMAGE, shift)
    for pixel, turned in zip(IMAGE.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        np.testing.assert_allclose(turned, colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value), atol=1e-5)


def test_by_hand():
    red = np.array([[[1.0, 0.0, 0.0]]], np.float32)
    np.testing.assert_allclose(jitter.adjust_hue(red, 1 / 3), [[[0, 1, 0]]], atol=1e-6)
    np.testing.assert_allclose(jitter.adjust_saturation(red, 0), [[[0.299] * 3]], rtol=1e-6)
    pair = np.array([[[0.2], [0.6]]], np.float32)  # one channel: saturation and hue change nothing
    np.testing.assert_allclose(jitter.adjust_contrast(pair, 0.5), [[[0.3], [0.5]]], rtol=1e-6)
    assert jitter.adjust_hue(pair, 0.3) is pair and jitter.adjust_saturation(pair, 0.3) is pair


def test_order_and_amounts_are_random_within_their_ranges():
    grey = np.full((4, 4, 3), 0.5, np.float32)  # only brightness changes it
    values = [jitter.colour_jitter(seed, grey).mean() for seed in range(300)]
    assert 0.25 <= min(values) < 0.28 and 0.72 < max(values) <= 0.75
    same = jitter.colour_jitter(3, IMAGE), jitter.colour_jitter(3, IMAGE)
    np.testing.assert_array_equal(*same)
    none = jitter.colour_jitter(3, IMAGE, brightness=0, contrast=0, saturation=0, hue=0)
    np.testing.assert_allclose(none, IMAGE, atol=1e-6)
