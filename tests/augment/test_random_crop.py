"""Quarter turns on a canvas of unchanged size, and crops. Expected values: published ones (golden), PIL, by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from fewslice.augment.random_crop import random_crop, turn_in_place
from tests.golden_files import golden_param


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
        view, label = random_crop(seed, image, numbers, size=4, label_fill=99)
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


def test_a_small_image_is_filled_up_with_what_is_not_known():
    image, label = np.ones((3, 5, 1), np.float32), np.zeros((3, 5), np.uint8)
    for seed in range(8):
        view, known = random_crop(seed, image, label, size=6, label_fill=2)
        assert (known == 2).sum() >= 36 - 15 and np.array_equal(known == 0, view[..., 0] == 1)
