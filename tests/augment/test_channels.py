"""Images of several channels: each channel changes as an image of one does."""

import numpy as np
import pytest

from fewslice.augment.affine import random_affine
from fewslice.augment.crop_resize import random_crop_and_resize
from fewslice.augment.segmentation import SegmentationAugmentation, augment_segmentation_batch
from fewslice.augment.strong_intensity import strong_intensity
from fewslice.augment.strong_view import strong_view

LABELS = np.random.default_rng(3).integers(0, 3, (12, 40, 48)).astype(np.uint8)
CHANGES = {
    "affine": lambda rng, images: random_affine(rng, images, LABELS)[0],
    "crop": lambda rng, images: random_crop_and_resize(rng, images, box=20),
    "strong_intensity": strong_intensity,
    "strong_view": strong_view,
    "segmentation": lambda rng, images: augment_segmentation_batch(
        rng, images, LABELS, 3, settings=SegmentationAugmentation(strong=True)
    )[0],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_equal_channels_stay_equal(change):
    one = np.random.default_rng(0).random((12, 40, 48, 1)).astype(np.float32)
    three = change(np.random.default_rng(1), np.repeat(one, 3, axis=-1))
    expected = change(np.random.default_rng(1), one)
    np.testing.assert_allclose(three, np.repeat(expected, 3, axis=-1), atol=2e-6)
    assert three.dtype == np.float32
