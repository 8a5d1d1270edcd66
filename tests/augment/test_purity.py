"""Every random transform is a function of its generator, leaves its input alone and returns new arrays."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.affine import random_affine
from fewslice.augment.colour_crop import colour_crop
from fewslice.augment.copy_paste import copy_paste, copy_paste_boxes
from fewslice.augment.crop_resize import random_crop_and_resize
from fewslice.augment.cutmix import cutmix_boxes, mix
from fewslice.augment.group_views import group_view
from fewslice.augment.intensity import pretraining_intensity
from fewslice.augment.mixup import random_mixup
from fewslice.augment.pretraining import augmented_view
from fewslice.augment.rot_flip import rot_flip
from fewslice.augment.segmentation import SegmentationAugmentation, augment_segmentation_batch
from fewslice.augment.standard import augment
from fewslice.augment.strong_intensity import strong_intensity
from fewslice.augment.strong_view import strong_view
from fewslice.settings import recipe

SHAPE = (6, 24, 24)


def paste(rng, images, labels):
    boxes = copy_paste_boxes(rng, SHAPE)
    return copy_paste((images, labels), (images[::-1], labels[::-1]), boxes=boxes)


def segmentation(rng, images, labels, **settings):
    return augment_segmentation_batch(rng, images, labels, 4, settings=SegmentationAugmentation(**settings))


def colour(rng, images, labels):
    crops = [colour_crop(rng, *pair, size=SHAPE[1], label_fill=4) for pair in zip(images, labels, strict=True)]
    return [np.stack(parts) for parts in zip(*crops, strict=True)]


QUIET = tuple(name for name in recipe.TRANSFORMS if name != "noise")  # which is each channel's own
TRANSFORMS = {
    "affine": random_affine,
    "colour_crop": colour,
    "copy_paste": paste,
    "crop_resize": lambda rng, images, labels: [random_crop_and_resize(rng, images)],
    "cutmix": lambda rng, images, labels: [mix(images, images[::-1], cutmix_boxes(rng, SHAPE))],
    "group_view": lambda rng, images, labels: [group_view(rng, images)],
    "intensity": lambda rng, images, labels: [pretraining_intensity(rng, images, per_image=True)],
    "mixup": lambda rng, images, labels: random_mixup(rng, images, onehot=np.eye(4, dtype=np.float32)[labels]),
    "rot_flip": rot_flip,
    "segmentation": segmentation,
    "segmentation, affine only": lambda *batch: segmentation(*batch, rd_ni=False),
    "standard": lambda rng, images, labels: augment(rng, images, labels, names=QUIET),
    "strong_intensity": lambda rng, images, labels: [strong_intensity(rng, images)],
    "strong_view": lambda rng, images, labels: [strong_view(rng, images)],
    "view": lambda rng, images, labels: [augmented_view(rng, images, box=100, strong=True)],
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_pure_function_of_the_generator(transform):
    rng = np.random.default_rng(0)
    images = rng.uniform(0.1, 1, (*SHAPE, 1)).astype(np.float32)
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    before = images.copy(), labels.copy()
    first, again, other = (transform(np.random.default_rng(seed), images, labels) for seed in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert (first[0] != other[0]).any() and first[0].dtype == np.float32
    for array in first:
        array[:] = 0
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_all_channels_of_an_image_change_alike(transform, monkeypatch):
    monkeypatch.setattr("fewslice.augment.strong_intensity.NOISE", 0.0)  # noise is each channel's own
    rng = np.random.default_rng(0)
    images = np.repeat(rng.uniform(0.1, 1, (*SHAPE, 1)).astype(np.float32), 3, axis=-1)
    out = transform(np.random.default_rng(1), images, rng.integers(0, 4, SHAPE).astype(np.uint8))[0]
    assert out.shape[1:] == images.shape[1:] and 0 < out.std() < 1
    np.testing.assert_array_equal(out, np.repeat(out[..., :1], 3, axis=-1))
