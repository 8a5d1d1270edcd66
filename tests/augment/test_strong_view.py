"""Expected values: cases worked out by hand, and the blur of tests/reference/augment.py."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment import strong_view as module
from fewslice.augment.strong_view import jitter, strong_view
from tests.augment.coins import Coins
from tests.reference import augment as reference

JITTER, GAMMA, BLUR = range(3)  # rows of the coins


def _images(count=6, side=24, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, (count, side, side, 1)).astype(np.float32)


def test_jitter_by_hand():
    """Brightness 2 makes (1, 3) to (2, 6) with mean 4; contrast 0.5 makes that (3, 5)."""
    images = np.array([[[[1.0], [3.0]]], [[[1.0], [3.0]]]], np.float32)
    out = jitter(images, np.array([2, 1]), np.array([0.5, 1]))
    np.testing.assert_allclose(out[..., 0], [[[3, 5]], [[1, 3]]])


def test_all_off_changes_nothing():
    images = _images()
    out = strong_view(Coins(), images)
    np.testing.assert_array_equal(out, images)


def test_gamma_is_a_power_within_its_range():
    images = _images()
    out = strong_view(Coins(GAMMA), images)
    exponents = (np.log(out) / np.log(images))[images < 0.9].reshape(-1)
    assert exponents.min() > 0.7 - 1e-3 and exponents.max() < 1.5 + 1e-3
    per_image = np.log(out[:, 0, 0, 0]) / np.log(images[:, 0, 0, 0])
    np.testing.assert_allclose(out, images ** per_image[:, None, None, None], rtol=1e-4)
    assert len(np.unique(per_image.round(4))) == 6


def test_blur_same_as_loops(monkeypatch):
    images = _images(2, 13)
    monkeypatch.setattr(module, "BLUR_PX", (1.3, 1.3))
    out = strong_view(Coins(BLUR), images)
    for image, blurred in zip(images, out, strict=True):
        np.testing.assert_allclose(blurred[..., 0], reference.gaussian_blur(image[..., 0], 1.3), atol=1e-5)


def test_jitter_stays_within_its_limits():
    images = 0.5 + 0.1 * _images(300, 8)  # nothing is clipped
    out = strong_view(Coins(JITTER), images)
    brightness = out.mean(axis=(1, 2, 3)) / images.mean(axis=(1, 2, 3))
    contrast = out.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3)) / brightness
    for values in (brightness, contrast):
        assert 0.5 - 1e-3 < values.min() < 0.55 and 1.45 < values.max() < 1.5 + 1e-3
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.2


def test_range():
    images = _images()
    first = strong_view(Coins(JITTER, GAMMA, BLUR), images)
    assert first.dtype == np.float32 and first.shape == images.shape
    assert first.min() >= 0 and first.max() <= 1.5 and np.isfinite(first).all()


def test_blank_and_negative_images_become_blank():
    images = np.zeros((8, 8, 8, 1), np.float32)
    images[4:] = -0.3
    out = strong_view(np.random.default_rng(0), images)
    np.testing.assert_array_equal(out, np.zeros_like(images))


def test_share_of_untouched_images():
    images = _images(2000, 4)
    out = strong_view(np.random.default_rng(0), images)
    assert (out == images).all(axis=(1, 2, 3)).mean() == pytest.approx(0.2 * 0.5 * 0.5, abs=0.02)
