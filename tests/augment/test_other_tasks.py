"""Rotation task, context restoration, inpainting. Expected values: golden files and hand cases."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.context_restoration import choose_swaps, random_context_restoration, swap_patches
from fewslice.augment.inpainting import MODES, erase_boxes, random_box
from fewslice.augment.rotation_task import rotation_task
from tests.golden_files import golden_param


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "rotated_imgs*.npz"))
def test_golden_rotation_task(path):
    """The input is not stored: pixels count up from 0 over all images."""
    data = np.load(path)
    rows, *shape = data["out"].shape
    batch = -(-rows // 4)
    images = np.arange(batch * np.prod(shape)).reshape(batch, *shape)
    out, labels = rotation_task(images, rows=rows)
    np.testing.assert_array_equal(out, data["out"])
    np.testing.assert_array_equal(labels, data["labels"])


def test_rotation_task_by_hand():
    images = np.array([[1, 2], [3, 4]])[None, :, :, None]
    out, labels = rotation_task(images)
    assert out[..., 0].tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    assert labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape, rows", [((1, 4, 5, 1), None), ((1, 4, 4, 1), 5)])
def test_rotation_task_refuses(shape, rows):
    with pytest.raises(ValueError, match="must be .batch, side, side, channels"):
        rotation_task(np.zeros(shape), rows=rows)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "context_restoration*.npz"))
def test_golden_context_restoration(path):
    """The input is not stored: pixels count up from 0. `draws`: rows, then columns of each attempt."""
    data = np.load(path)
    patch, count = int(data["patch_dim"]), int(data["N"])
    images = np.arange(data["out"].size).reshape(data["out"].shape)
    draws = iter(data["draws"].tolist())

    def draw():
        return tuple(next(draws)), tuple(next(draws))

    for image, expected in zip(images, data["out"], strict=True):
        out = swap_patches(image, choose_swaps(draw, patch=patch, count=count), patch=patch)
        np.testing.assert_array_equal(out, expected)
    assert next(draws, None) is None


def test_context_restoration_keeps_the_border_and_the_values():
    images = np.random.default_rng(0).random((3, 40, 40, 1), dtype=np.float32)
    out = random_context_restoration(np.random.default_rng(1), images)
    assert (out != images).any(axis=(1, 2, 3)).all()
    for part in (np.s_[:, :5], np.s_[:, -1:], np.s_[:, :, :5], np.s_[:, :, -1:]):
        np.testing.assert_array_equal(out[part], images[part])
    assert np.isin(out, images).all()
    np.testing.assert_array_equal(out, random_context_restoration(np.random.default_rng(1), images))


def test_choose_swaps_gives_up():
    """Patches that always overlap: 10 attempts per pair, then nothing."""
    attempts = []

    def draw():
        attempts.append(1)
        return (3, 4), (3, 4)

    assert choose_swaps(draw, patch=5, count=2) == [] and len(attempts) == 20


def test_context_restoration_of_small_images():
    with pytest.raises(ValueError, match="larger than 2"):
        random_context_restoration(np.random.default_rng(0), np.zeros((1, 10, 10, 1)))


def test_erase_boxes_by_hand():
    images = np.ones((1, 3, 3, 1))
    out = erase_boxes(images, np.array([[1, 0]]), np.array([[1, 2]]))
    assert out[0, :, :, 0].tolist() == [[1, 1, 1], [0, 0, 1], [1, 1, 1]] and images.all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", [192, 64])
def test_inpainting_erases_one_box_of_the_right_size(mode, side):
    images = np.ones((6, side, side, 1), np.float32)
    out = random_box(np.random.default_rng(0), images, mode=mode)
    for image in out[..., 0]:
        rows, columns = np.flatnonzero((image == 0).any(1)), np.flatnonzero((image == 0).any(0))
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 0).all()
        scale = 1 if side == 192 else side / 192
        for length in (len(rows), len(columns)):
            if mode == "random_size":
                assert round(30 * scale) <= length <= round(89 * scale)
            else:
                assert length == round(100 * scale)
        if mode == "centre":
            assert abs(rows[0] - (side - 1 - rows[-1])) <= 1


def test_inpainting_unknown_mode():
    with pytest.raises(ValueError, match="Did you mean 'centre'"):
        random_box(np.random.default_rng(0), np.ones((1, 64, 64, 1)), mode="center")
