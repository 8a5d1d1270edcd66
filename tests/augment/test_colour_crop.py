"""Crops with quarter turns and changes of colour. Expected values: published (golden), PIL, `colorsys`, by hand."""

from __future__ import annotations

import colorsys
import json
import re

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from fewslice.augment.colour_crop import adjust, colour_crop, turn_in_place
from tests.golden_files import golden_param

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
IMAGE = PIXELS.astype(np.float32) / 255


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "pil_geometry*.json"))
def test_golden_geometry(path):
    recorded = {name: np.array(values) for name, values in json.loads(path.read_text()).items()}
    original = recorded["orig"]
    for name, expected in recorded.items():
        if match := re.fullmatch(r"rot(\d+)", name):
            np.testing.assert_array_equal(turn_in_place(original, int(match[1]) // 90), expected)
    np.testing.assert_array_equal(original[:, ::-1], recorded["flip_lr"])


@pytest.mark.parametrize("size", [(5, 7), (7, 5), (4, 7), (7, 4), (6, 6), (1, 4), (12, 3)])
def test_turns_are_those_of_pil(size):
    array = np.arange(1, np.prod(size) + 1, dtype=np.uint8).reshape(size)
    for turns in range(4):
        expected = np.asarray(Image.fromarray(array).rotate(90 * turns))
        np.testing.assert_array_equal(turn_in_place(array, turns), expected)


def test_image_and_label_are_cut_alike_and_all_ways_occur():
    """Every pixel has a number of its own, which its label repeats."""
    numbers = np.arange(1, 8 * 6 + 1).reshape(8, 6)
    image, seen = np.repeat(numbers[..., None], 3, axis=-1).astype(np.float32), set()
    for seed in range(200):
        view, label = colour_crop(seed, image, numbers, size=4, label_fill=99, jitter={})
        assert view.shape == (4, 4, 3) and view.dtype == np.float32 and label.dtype == numbers.dtype
        np.testing.assert_array_equal(np.where(label == 99, 0, label), view[..., 0])
        ways = {
            (turns, flip) for turns in range(4) for flip in (1, -1)
            for r in range(5) for c in range(3)
            if np.array_equal(turn_in_place(numbers, turns, fill=99)[r : r + 4, c : c + 4][:, ::flip], label)
        }  # fmt: skip
        assert len(ways) == 1
        seen |= ways
    assert len(seen) == 8
    view, label = colour_crop(0, image, numbers, size=9, label_fill=99, jitter={})
    assert (label == 99).sum() >= 81 - 48 and np.array_equal(label == 99, view[..., 0] == 0), "filled up"


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.83, 1.0, 1.5])
@pytest.mark.parametrize(
    "what, name", [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")]
)
def test_factors_are_those_of_pil(what, name, factor):
    expected = np.asarray(getattr(ImageEnhance, name)(Image.fromarray(PIXELS)).enhance(factor)) / 255
    np.testing.assert_allclose(adjust(IMAGE, what, factor), expected, atol=1.6 / 255)  # it rounds twice


@pytest.mark.parametrize("shift", [-0.5, -0.05, 0.0, 0.05, 0.31])
def test_hue_is_that_of_colorsys(shift):
    found = adjust(IMAGE, "hue", shift)
    for pixel, turned in zip(IMAGE.reshape(-1, 3), found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        np.testing.assert_allclose(turned, colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value), atol=1e-5)


def test_one_channel_by_hand_and_the_range_of_amounts():
    pair = np.array([[[0.2], [0.6]]], np.float32)
    np.testing.assert_allclose(adjust(pair, "contrast", 0.5), [[[0.3], [0.5]]], rtol=1e-6)
    assert adjust(pair, "hue", 0.3) is pair and adjust(pair, "saturation", 0.3) is pair
    grey, label = np.full((4, 4, 3), 0.5, np.float32), np.zeros((4, 4), int)  # only brightness changes it
    values = [colour_crop(seed, grey, label, size=4, label_fill=1)[0].mean() for seed in range(300)]
    assert 0.25 <= min(values) < 0.28 and 0.72 < max(values) <= 0.75
