"""Expected values: properties of the rules in the paper."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fewslice.augment.pretraining import augmented_view, is_constant


def _images(batch=6, side=48):
    return np.random.default_rng(0).uniform(0.1, 1, (batch, side, side, 1)).astype(np.float32)


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("box", [100, None])
def test_views(box, strong):
    images, rng = _images(), np.random.default_rng(0)
    first, second = (augmented_view(rng, images, box=box, strong=strong) for _ in range(2))
    for view in (first, second):
        assert view.shape == images.shape and view.dtype == np.float32
        assert view.min() >= 0 and view.max() <= 1.5
    assert np.abs(first - second).max() > 0.05


def test_views_without_crop_keep_every_position():
    """Without strong transforms a view is an increasing function of the slice, pixel by pixel."""
    images = _images()
    view = augmented_view(np.random.default_rng(0), images)
    for row in range(len(images)):
        order = np.argsort(images[row].ravel(), kind="stable")
        assert (np.diff(view[row].ravel()[order]) >= -1e-6).all()


def test_strong_views_differ_from_image_to_image():
    images = np.repeat(_images(1), 4, axis=0)
    shared, own = (augmented_view(np.random.default_rng(0), images, strong=strong) for strong in (False, True))
    assert (shared == shared[:1]).all() and not (own == own[:1]).all()


def _corner_images():
    """Black but for a small square in a corner that most crops miss."""
    images = np.zeros((4, 192, 192, 1), np.float32)
    images[:, 2:40, 2:40] = np.random.default_rng(0).random((4, 38, 38, 1), dtype=np.float32)
    return images


def _far_corner_images():
    """Content that no crop can reach."""
    images = np.zeros((4, 192, 192, 1), np.float32)
    images[:, -5:, -5:] = 1
    return images


def _dark_images():
    return np.random.default_rng(0).uniform(0, 0.05, (4, 64, 64, 1)).astype(np.float32)


def _negative_images():
    return _dark_images() - 5


@pytest.mark.parametrize("make", [_images, _corner_images, _far_corner_images, _dark_images, _negative_images])
@pytest.mark.parametrize("strong", [False, True])
def test_no_view_is_blank_unless_its_slice_is(make, strong):
    images = make()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        for box in (100, None):
            assert not is_constant(augmented_view(rng, images, box=box, strong=strong)).any()


def test_constant_slices_are_allowed():
    images = _images()
    images[2] = 0.5
    view = augmented_view(np.random.default_rng(0), images, box=100)
    assert is_constant(view).tolist() == [False, False, True, False, False, False]


def test_threads_give_the_same_bits():
    images = _images(8, 64)

    def make(seed):
        return augmented_view(np.random.default_rng(seed), images, box=100, strong=True)

    with ThreadPoolExecutor(4) as pool:
        for seed, view in enumerate(pool.map(make, range(12))):
            np.testing.assert_array_equal(view, make(seed))
