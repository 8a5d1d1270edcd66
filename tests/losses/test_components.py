"""Expected values: cases by hand, flood fill (`tests.reference.components`), and scikit-image's labelling."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import skimage.measure

from losses.components import largest_components
from tests.backend import compiled
from tests.reference import components as reference


@functools.cache
def _function(num_classes):
    """Compiled as in training: under TensorFlow the number of rows is unknown."""
    return compiled(lambda labels: largest_components(labels, num_classes))


def _largest(labels, num_classes=4):
    labels = keras.ops.convert_to_tensor(np.asarray(labels, "int32"))
    return keras.ops.convert_to_numpy(_function(num_classes)(labels))


def _by_skimage(labels):
    kept = np.zeros_like(labels)
    for image, result in zip(labels, kept, strict=True):
        for value in np.unique(image[image > 0]):
            components = skimage.measure.label(image == value)
            result[components == np.bincount(components.ravel())[1:].argmax() + 1] = value
    return kept


def _smooth(seed, count=3, side=(40, 33), width=5, num_classes=4):
    """Blobs: the largest of some smoothed noises wins."""
    noise = np.random.default_rng(seed).normal(size=(num_classes, count, *side))
    for axis in (2, 3):
        noise = sum(np.roll(noise, shift, axis) for shift in range(width))
    return noise.argmax(axis=0)


def _spiral(side):
    """A path one pixel wide that winds inwards, with one pixel between its arms."""
    image = np.zeros((side, side), int)
    row, column, step = 0, 0, (0, 1)
    image[0, 0] = 1
    while True:
        for turn in range(2):
            ahead = [(row + n * step[0], column + n * step[1]) for n in (1, 2)]
            inside = [0 <= r < side and 0 <= c < side for r, c in ahead]
            is_free = inside[0] and not image[ahead[0]] and not (inside[1] and image[ahead[1]])
            if is_free:
                break
            if turn:
                return image
            step = (step[1], -step[0])
        row, column = ahead[0]
        image[row, column] = 1


def _snake(side):
    """Every second row, joined at alternating ends."""
    image = np.zeros((side, side), int)
    image[::2] = 1
    image[1::4, -1] = image[3::4, 0] = 1
    return image


def test_by_hand():
    """Class 1: 4 of 5 pixels, joined by a corner; class 2 twice 2: the first; class 3 one pixel."""
    labels = [[[1, 0, 2, 0, 1], [0, 1, 2, 0, 0], [1, 1, 0, 0, 2], [3, 0, 0, 0, 2]]]
    expected = [[[1, 0, 2, 0, 0], [0, 1, 2, 0, 0], [1, 1, 0, 0, 0], [3, 0, 0, 0, 0]]]
    found = _largest(labels)
    assert found.tolist() == expected and found.dtype == np.int32


def test_of_equal_components_the_one_whose_first_pixel_comes_first_stays():
    """The left one reaches further down and begins later; then columns decide within a row."""
    assert _largest([[[0, 0, 1], [1, 0, 1], [1, 0, 0]]]).tolist() == [[[0, 0, 1], [0, 0, 1], [0, 0, 0]]]
    assert _largest([[[0, 2, 0, 2], [0, 2, 0, 2]]]).tolist() == [[[0, 2, 0, 0], [0, 2, 0, 0]]]
    assert _largest([[[1, 0, 1, 0, 1]], [[0, 0, 1, 0, 1]]]).tolist() == [[[1, 0, 0, 0, 0]], [[0, 0, 1, 0, 0]]]


def test_nothing_touches_over_the_edge_of_an_image():
    """Neither the end of a row and the start of the next, nor the last row of an image and the next image's first."""
    labels = [[[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]]
    expected = [[[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]]
    assert _largest(labels).tolist() == expected
    assert _largest([[[0, 0, 1], [1, 0, 0]]]).tolist() == [[[0, 0, 1], [0, 0, 0]]]


@pytest.mark.parametrize("value", [0, 1, 3])
def test_images_of_one_class_stay(value):
    labels = np.full((2, 17, 9), value)
    np.testing.assert_array_equal(_largest(labels), labels)


@pytest.mark.parametrize("side", [(1, 7), (9, 1), (12, 10)])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_equals_flood_fill_on_noise(side, num_classes):
    labels = np.random.default_rng(0).integers(num_classes, size=(6, *side))
    np.testing.assert_array_equal(_largest(labels, num_classes), reference.largest_components(labels))


@pytest.mark.parametrize("width", [1, 3, 9])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_equals_scikit_image_on_blobs(width, num_classes):
    labels = np.concatenate([_smooth(seed, width=width, num_classes=num_classes) for seed in range(8)])
    expected = _by_skimage(labels)
    assert width == 9 or (expected != labels).any()
    np.testing.assert_array_equal(_largest(labels, num_classes), expected)


@pytest.mark.parametrize("path", [_spiral, _snake])
@pytest.mark.parametrize("side", [31, 64])
def test_long_paths_are_followed_to_their_end(path, side):
    """In all orientations; then with one pixel cut out of the middle, after which the longer part stays."""
    image = path(side)
    assert image.sum() > side * side / 2.3
    turned = np.stack([np.rot90(image, k) for k in range(4)] + [image[::-1], image.T])
    np.testing.assert_array_equal(_largest(turned, 2), turned)
    cut = turned.copy()
    for picture in cut:
        rows, columns = np.nonzero(picture)
        picture[rows[len(rows) // 2], columns[len(rows) // 2]] = 0
    expected = _by_skimage(cut)
    assert (expected.sum(axis=(1, 2)) < cut.sum(axis=(1, 2))).any()
    np.testing.assert_array_equal(_largest(cut, 2), expected)


def test_two_spirals_within_each_other_are_told_apart():
    """The gap of a spiral is a path as long as itself: as another class, whole or in islands, it does not disturb."""
    image = _spiral(48)
    labels = np.where(image == 1, 1, 2)[None]
    np.testing.assert_array_equal(_largest(labels), _by_skimage(labels))
