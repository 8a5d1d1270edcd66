"""Expected values: cases worked out by hand and properties of the mixed batches."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.copy_paste import copy_paste, copy_paste_boxes
from fewslice.core.errors import ConfigError


def _batch(origin, count=6, side=24, seed=0):
    """Images and labels; the grey value is 100 * origin + 10 * row of the batch + label."""
    labels = np.random.default_rng(seed).integers(0, 4, (count, side, side)).astype(np.uint8)
    images = 100 * origin + 10 * np.arange(count)[:, None, None] + labels
    return images.astype(np.float32)[..., None], labels


def test_by_hand():
    """Row 0: the labelled pixel (1) inside the box, unlabelled (2) around it. Row 1: the reverse."""
    boxes = np.array([[[True, False, False]], [[True, False, False]]])
    known = np.full((2, 1, 3, 1), 1, np.float32), np.full((2, 1, 3), 7, np.uint8)
    guess = np.full((2, 1, 3, 1), 2, np.float32), np.full((2, 1, 3), 8, np.uint8)
    mixed = copy_paste(known, guess, boxes=boxes, alpha=0.25)
    assert mixed.images[..., 0].tolist() == [[[1, 2, 2]], [[2, 1, 1]]]
    assert mixed.labels.tolist() == [[[7, 8, 8]], [[8, 7, 7]]]
    assert mixed.weights.tolist() == [[[1, 0.25, 0.25]], [[0.25, 1, 1]]]
    assert mixed.images.dtype == mixed.weights.dtype == np.float32 and mixed.labels.dtype == np.uint8


@pytest.mark.parametrize("height, width, expected", [(192, 192, (128, 128)), (96, 160, (64, 107)), (2, 3, (1, 2))])
def test_boxes_have_two_thirds_of_each_side(height, width, expected):
    boxes = copy_paste_boxes(np.random.default_rng(0), 50, height, width)
    assert boxes.shape == (50, height, width) and boxes.dtype == bool
    assert (boxes.any(axis=2).sum(axis=1) == expected[0]).all()
    assert (boxes.any(axis=1).sum(axis=1) == expected[1]).all()
    assert (boxes.sum(axis=(1, 2)) == expected[0] * expected[1]).all()


def test_places_are_uniform_and_reach_both_ends():
    boxes = copy_paste_boxes(np.random.default_rng(0), 4000, 9, 9)  # box of 6: four places per axis
    for axis in (1, 2):
        first = boxes.any(axis=3 - axis).argmax(axis=1)
        np.testing.assert_allclose(np.bincount(first) / 4000, [0.25] * 4, atol=0.03)


def test_one_box_for_the_batch_on_request():
    shared = copy_paste_boxes(np.random.default_rng(0), 8, 30, 30, shared=True)
    assert (shared == shared[0]).all()
    own = copy_paste_boxes(np.random.default_rng(0), 8, 30, 30)
    assert (own != own[0]).any()


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_images_labels_and_weights_tell_the_same_origin(count):
    boxes = copy_paste_boxes(np.random.default_rng(2), count, 24, 24)
    mixed = copy_paste(_batch(1, count), _batch(2, count, seed=1), boxes=boxes)
    grey = mixed.images[..., 0]
    np.testing.assert_array_equal(grey % 10, mixed.labels)
    np.testing.assert_array_equal(grey % 100 // 10, np.broadcast_to(np.arange(count)[:, None, None], grey.shape))
    np.testing.assert_array_equal(mixed.weights, np.where(grey >= 200, np.float32(0.5), np.float32(1)))
    share = (grey < 200).mean(axis=(1, 2))  # of labelled pixels: the box of 16 x 16 of 24 x 24, or the rest
    half = count // 2
    np.testing.assert_allclose(share, [4 / 9] * half + [5 / 9] * (count - half))


def test_one_hot_labels():
    (images, labels), (others, guesses) = _batch(1), _batch(2, seed=1)
    onehot, soft = np.eye(4, dtype=np.float32)[labels], np.eye(4, dtype=np.float32)[guesses]
    boxes = copy_paste_boxes(np.random.default_rng(0), 6, 24, 24)
    hard = copy_paste((images, labels), (others, guesses), boxes=boxes)
    mixed = copy_paste((images, onehot), (others, soft), boxes=boxes)
    np.testing.assert_array_equal(mixed.labels.argmax(axis=-1), hard.labels)


def test_is_a_function_of_the_generator_and_leaves_the_input():
    known, guess = _batch(1), _batch(2, seed=1)
    kept = [array.copy() for array in (*known, *guess)]
    boxes, again = (copy_paste_boxes(np.random.default_rng(3), 6, 24, 24) for _ in range(2))
    first, second = copy_paste(known, guess, boxes=boxes), copy_paste(known, guess, boxes=again)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
        one[:] = 0
    for array, before in zip((*known, *guess), kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_wrong_arguments():
    known, guess = _batch(1), _batch(2)
    boxes = np.zeros((6, 24, 24), bool)
    with pytest.raises(ConfigError, match="`ratio` must lie"):
        copy_paste_boxes(np.random.default_rng(0), 6, 24, 24, ratio=1.0)
    with pytest.raises(ConfigError, match="`alpha` must lie"):
        copy_paste(known, guess, boxes=boxes, alpha=-0.1)
    with pytest.raises(ValueError, match="must have one shape and dtype"):
        copy_paste(known, _batch(2, count=4), boxes=boxes)
    with pytest.raises(ValueError, match="must have one shape and dtype"):
        copy_paste(known, (guess[0], guess[1].astype(np.int32)), boxes=boxes)
