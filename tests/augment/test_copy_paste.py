"""Expected values: cases worked out by hand and properties of the mixed batches."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.copy_paste import copy_paste, copy_paste_boxes


def _batch(origin, count=6, side=24, seed=0):
    """Images and labels; the intensity is 100 * origin + 10 * row of the batch + label."""
    labels = np.random.default_rng(seed).integers(0, 4, (count, side, side)).astype(np.uint8)
    images = 100 * origin + 10 * np.arange(count)[:, None, None] + labels
    return images.astype(np.float32)[..., None], labels


def test_by_hand():
    """Row 0: the labelled pixel (1) inside the box, unlabelled (2) around it. Row 1: the reverse."""
    boxes = np.array([[[True, False, False]], [[True, False, False]]])
    known = np.full((2, 1, 3, 1), 1, np.float32), np.full((2, 1, 3), 7, np.uint8)
    guess = np.full((2, 1, 3, 1), 2, np.float32), np.full((2, 1, 3), 8, np.uint8)
    images, labels, is_unlabelled = copy_paste(known, guess, boxes=boxes)
    assert images[..., 0].tolist() == [[[1, 2, 2]], [[2, 1, 1]]] and images.dtype == np.float32
    assert labels.tolist() == [[[7, 8, 8]], [[8, 7, 7]]] and labels.dtype == np.uint8
    assert is_unlabelled.tolist() == [[[False, True, True]], [[True, False, False]]]


@pytest.mark.parametrize("height, width, expected", [(192, 192, (128, 128)), (96, 160, (64, 107)), (2, 3, (1, 2))])
def test_boxes_have_two_thirds_of_each_side(height, width, expected):
    boxes = copy_paste_boxes(np.random.default_rng(0), (50, height, width))
    assert boxes.shape == (50, height, width) and boxes.dtype == bool
    assert (boxes.any(axis=2).sum(axis=1) == expected[0]).all()
    assert (boxes.any(axis=1).sum(axis=1) == expected[1]).all()
    assert (boxes.sum(axis=(1, 2)) == expected[0] * expected[1]).all()


def test_places_are_uniform_and_reach_both_ends():
    boxes = copy_paste_boxes(np.random.default_rng(0), (4000, 9, 9))  # box of 6: four places per axis
    for axis in (1, 2):
        first = boxes.any(axis=3 - axis).argmax(axis=1)
        np.testing.assert_allclose(np.bincount(first) / 4000, [0.25] * 4, atol=0.03)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_images_labels_and_mask_tell_the_same_origin(count):
    boxes = copy_paste_boxes(np.random.default_rng(2), (count, 24, 24))
    images, labels, is_unlabelled = copy_paste(_batch(1, count), _batch(2, count, seed=1), boxes=boxes)
    intensity = images[..., 0]
    np.testing.assert_array_equal(intensity % 10, labels)
    np.testing.assert_array_equal(intensity % 100 // 10 - np.arange(count)[:, None, None], 0)
    np.testing.assert_array_equal(is_unlabelled, intensity >= 200)
    share = (intensity < 200).mean(axis=(1, 2))  # of labelled pixels: the box of 16 x 16 of 24 x 24, or the rest
    half = count // 2
    np.testing.assert_allclose(share, [4 / 9] * half + [5 / 9] * (count - half))
