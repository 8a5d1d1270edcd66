"""Expected values: properties of the rules in the paper."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fewslice.augment.pretraining import ViewSettings, augmented_view, global_views, is_constant, local_views
from fewslice.augment.strong_intensity import StrongIntensity


def _images(batch=6, side=48, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, (batch, side, side, 1)).astype(np.float32)


@pytest.mark.parametrize("strong", [None, StrongIntensity()])
def test_global_views(strong):
    images = _images()
    settings = ViewSettings(strong=strong)
    views = global_views(np.random.default_rng(0), images, num_views=3, include_original=True, settings=settings)
    assert len(views) == 3
    np.testing.assert_array_equal(views[0], images)
    for view in views[1:]:
        assert view.shape == images.shape and view.dtype == np.float32
        assert view.min() >= 0 and view.max() <= 1.5
    assert np.abs(views[1] - views[2]).max() > 0.05


def test_local_views_keep_every_position():
    """Without strong transforms both views are increasing functions of the slice, pixel by pixel."""
    images = _images()
    for view in local_views(np.random.default_rng(0), images):
        for row in range(len(images)):
            order = np.argsort(images[row].ravel(), kind="stable")
            assert (np.diff(view[row].ravel()[order]) >= -1e-6).all()


def test_per_image_intensity():
    images = np.repeat(_images(1), 4, axis=0)
    shared = augmented_view(np.random.default_rng(0), images, crop=False)
    own = augmented_view(np.random.default_rng(0), images, crop=False, settings=ViewSettings(per_image=True))
    assert (shared == shared[:1]).all() and not (own == own[:1]).all()


def _corner_images(side=192):
    """Black but for a small square in a corner that most crops miss."""
    images = np.zeros((4, side, side, 1), np.float32)
    images[:, 2:40, 2:40] = np.random.default_rng(0).random((4, 38, 38, 1), dtype=np.float32)
    return images


def _far_corner_images(side=192):
    """Content that no crop can reach."""
    images = np.zeros((4, side, side, 1), np.float32)
    images[:, -5:, -5:] = 1
    return images


def _dark_images(side=64):
    return np.random.default_rng(0).uniform(0, 0.05, (4, side, side, 1)).astype(np.float32)


def _negative_images(side=64):
    return _dark_images(side) - 5


@pytest.mark.parametrize("make", [_images, _corner_images, _far_corner_images, _dark_images, _negative_images])
@pytest.mark.parametrize("strong", [None, StrongIntensity(probability=1.0)])
def test_no_view_is_blank_unless_its_slice_is(make, strong):
    images = make()
    settings = ViewSettings(strong=strong)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        for view in global_views(rng, images, settings=settings) + local_views(rng, images, settings=settings):
            assert not is_constant(view).any()


def test_constant_slices_are_allowed():
    images = _images()
    images[2] = 0.5
    view = augmented_view(np.random.default_rng(0), images, crop=True)
    assert is_constant(view).tolist() == [False, False, True, False, False, False]


def test_threads_give_the_same_bits():
    images = _images(8, 64)
    settings = ViewSettings(strong=StrongIntensity())

    def make(seed):
        return augmented_view(np.random.default_rng(seed), images, crop=True, settings=settings)

    alone = [make(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(make, range(12)), strict=True):
            np.testing.assert_array_equal(one, other)
