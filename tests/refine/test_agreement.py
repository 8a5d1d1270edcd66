"""Expected values: cases worked out by hand, and the loops in tests/reference/volume_views.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewslice.augment.volume_views import VolumeView, draw_two_views, visible
from fewslice.refine import agreement as module
from fewslice.refine.agreement import agreement
from tests.reference import volume_views as reference


def _discs(side=48, slices=2):
    """Images (Z, H, W, 1) whose intensities 0, 1, 2 make three classes: an off-centre disc within a larger one."""
    y, x = np.mgrid[:side, :side]
    outer = (y - 0.45 * side) ** 2 + (x - 0.55 * side) ** 2 < (0.3 * side) ** 2
    inner = (y - 0.4 * side) ** 2 + (x - 0.55 * side) ** 2 < (0.15 * side) ** 2
    return np.repeat((outer + 1.0 * inner).astype(np.float32)[None, :, :, None], slices, axis=0)


def _by_intensity(images, classes=3):
    """The network that is always right: a class per intensity."""
    return np.exp(-4 * (images - np.arange(classes, dtype=np.float32)) ** 2)


def _seed_for(*kinds):
    for seed in range(200):
        if tuple(view.kind for view in draw_two_views(np.random.default_rng(seed))) == kinds:
            return seed
    raise LookupError(kinds)


def _force(monkeypatch, *views):
    monkeypatch.setattr(module, "draw_two_views", lambda rng: views)


@pytest.mark.parametrize("seed", range(6))
def test_a_network_that_moves_with_the_image_agrees(seed):
    assert agreement(_by_intensity, _discs(), 3, np.random.default_rng(seed))[1:].mean() > 0.95


def test_a_network_that_looks_at_the_place_only_does_not_agree(monkeypatch):
    """The left half is class 1 whatever the image: mirrored back, it is the right half."""

    def left(images):
        out = np.zeros((*images.shape[:3], 2), np.float32)
        out[:, :, : images.shape[2] // 2, 1] = 1
        out[..., 0] = 1 - out[..., 1]
        return out

    _force(monkeypatch, VolumeView("scaling", 1.1), VolumeView("mirror"))
    assert agreement(left, _discs(), 2, np.random.default_rng(0))[1] < 0.3


def test_by_hand(monkeypatch):
    """A view of scale 1 (no change) and a mirrored one; class 1 in columns 0 and 1, or, mirrored back, 2 and 3.

    The network calls the brightest column of a view and the one before it class 1. The image is brightest in column 1;
    in the mirrored image that is column 2, so columns 1 and 2 are class 1 there, which are 2 and 1 of the original.
    Columns {0, 1} and {1, 2}: F1 of class 1 = 2 * 1 / (2 + 2) = 1/2; of class 0, {2, 3} and {0, 3}, also 1/2.
    """
    image = np.tile(np.array([0.2, 1, 0.3, 0.1], np.float32), (1, 4, 1))[..., None]

    def predict(images):
        column = int(images[0, 0, :, 0].argmax())
        out = np.zeros((1, 4, 4, 3), np.float32)
        out[..., 0] = 0.5
        out[:, :, column - 1 : column + 1, 1] = 1
        return out

    _force(monkeypatch, VolumeView("scaling", 1.0), VolumeView("mirror"))
    result = agreement(predict, image, 3, np.random.default_rng(0))
    np.testing.assert_allclose(result, [0.5, 0.5, np.nan])


@pytest.mark.parametrize("kinds", [("rotation", "scaling"), ("mirror", "rotation"), ("scaling", "scaling")])
def test_same_as_loops(kinds):
    images, seed = _discs(side=24, slices=1), _seed_for(*kinds)
    images[0, :3, :, 0] = 1  # a structure that the views cut off
    views = draw_two_views(np.random.default_rng(seed))
    labels, mask = [], np.ones((24, 24), bool)
    for view in views:
        seen = reference.view_slice(images[0, :, :, 0], view.kind, view.amount).astype(np.float32)
        probabilities = _by_intensity(seen[None, :, :, None])[0]
        back = [reference.undo_slice(probabilities[..., k], view.kind, view.amount) for k in range(3)]
        labels.append(np.stack(back).argmax(axis=0))
        mask &= reference.visible(view.kind, view.amount, (24, 24))
    expected = reference.f1_per_class(labels[0][mask], labels[1][mask], 3)
    result = agreement(_by_intensity, images, 3, np.random.default_rng(seed))
    np.testing.assert_allclose(result, expected, atol=0.02)  # a pixel may tip at a tie of two classes


def test_pixels_out_of_view_do_not_count(monkeypatch):
    """A structure along the border that a rotation cuts off: full agreement."""
    images = np.zeros((1, 40, 40, 1), np.float32)
    images[:, :6] = images[:, -6:] = 1

    def predict(views):
        return np.concatenate([0.5 + 0 * views, views], axis=-1)

    _force(monkeypatch, VolumeView("rotation", 30.0), VolumeView("mirror"))
    result = agreement(predict, images, 2, np.random.default_rng(0))
    assert result[1] > 0.97 and visible(VolumeView("rotation", 30.0), (40, 40)).mean() < 0.9


def test_no_foreground_is_never_accepted():
    def background(images):
        return np.concatenate([np.ones_like(images), np.zeros_like(images)], axis=-1)

    result = agreement(background, _discs(), 2, np.random.default_rng(0))
    assert result[0] == 1 and math.isnan(result[1])


def test_a_class_in_one_view_only_counts_as_zero(monkeypatch):
    calls = []

    def predict(images):
        calls.append(images)
        out = np.zeros((*images.shape[:3], 3), np.float32)
        out[..., 0] = 0.1
        out[:, 2:4, :, 1] = 1
        out[:, 6, :, 2] = len(calls) == 1
        return out

    _force(monkeypatch, VolumeView("scaling", 1.0), VolumeView("mirror"))
    result = agreement(predict, np.ones((1, 8, 8, 1), np.float32), 3, np.random.default_rng(0))
    assert result[1:].tolist() == [1, 0]


def test_the_network_sees_float32_volumes_and_the_input_stays():
    images = _discs()
    kept, seen = images.copy(), []

    def predict(views):
        seen.append((views.shape, views.dtype))
        views = views.copy()
        return _by_intensity(views)

    first = agreement(predict, images, 3, np.random.default_rng(3))
    second = agreement(predict, images, 3, np.random.default_rng(3))
    assert seen == [(images.shape, np.float32)] * 4
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(images, kept)


def test_wrong_shapes():
    with pytest.raises(ValueError, match="`images` must be"):
        agreement(_by_intensity, _discs()[..., 0], 3, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="`predict` must return"):
        agreement(_by_intensity, _discs(), 4, np.random.default_rng(0))
