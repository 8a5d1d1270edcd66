"""Expected values: the loops in tests/reference/augment.py and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.strong_intensity import bias_field, cutout, gaussian_blur, strong_intensity
from tests.augment.coins import Coins
from tests.reference import augment as reference


def _images(seed=0, side=32):
    return np.random.default_rng(seed).uniform(0.2, 1, (6, side, side, 1)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0, 1.7])
def test_blur_same_as_loops(sigma):
    image = np.random.default_rng(0).random((13, 17), dtype=np.float32)
    expected = reference.gaussian_blur(image, sigma) if sigma else image
    np.testing.assert_allclose(gaussian_blur(image, sigma), expected, atol=1e-6)


def test_bias_field_of_a_linear_polynomial():
    """log of the field = strength * row coordinate from -1 to 1."""
    coefficients = np.zeros((4, 4))
    coefficients[1, 0] = 3.0
    coefficients[0, 0] = coefficients[3, 3] = 5.0  # constant and high terms do not count
    field = bias_field(coefficients, (5, 4), strength=0.2)
    expected = np.repeat(np.exp([-0.2, -0.1, 0, 0.1, 0.2])[:, None], 4, axis=1)
    np.testing.assert_allclose(field, expected, rtol=1e-6)


def test_cutout_fills_the_box_with_the_mean():
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    out = cutout(image, 1, 2, box=(2, 2))
    assert (out[1:3, 2:4] == 7.5).all()
    out[1:3, 2:4] = image[1:3, 2:4]
    np.testing.assert_array_equal(out, image)


def test_no_coin_changes_nothing():
    images = _images()
    np.testing.assert_array_equal(strong_intensity(Coins(), images), images)
    np.testing.assert_array_equal(strong_intensity(Coins(4), images, cuts_out=False), images)


@pytest.mark.parametrize("transform", range(5), ids=["gamma", "bias", "blur", "noise", "cutout"])
def test_each_transform_alone_changes_every_image(transform):
    images = _images()
    out = strong_intensity(Coins(transform, seed=3), images)
    assert out.shape == images.shape and out.dtype == np.float32
    assert (np.abs(out - images).max(axis=(1, 2, 3)) > 1e-3).all()


def test_gamma_keeps_the_order_of_intensities():
    images = _images()
    out = strong_intensity(Coins(0), images)
    assert (np.diff(out[0].ravel()[np.argsort(images[0].ravel())]) >= 0).all()


@pytest.mark.parametrize("side", [32, 64, 96])
def test_all_together_stay_in_range_and_leave_no_image_constant(side):
    for seed in range(10):
        out = strong_intensity(Coins(*range(5), seed=seed), _images(side=side))
        assert out.min() >= 0 and out.max() <= 1.5
        assert (np.ptp(out, axis=(1, 2, 3)) > 0).all()
