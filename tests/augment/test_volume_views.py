"""Expected values: golden files, the loops in tests/reference/volume_views.py, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.volume_views import (
    VolumeView,
    apply_view,
    draw_two_views,
    draw_view,
    undo_to_labels,
    undo_view,
    visible,
)
from tests.golden_files import golden_param
from tests.reference import volume_views as reference

VIEWS = [
    VolumeView("rotation", 12.5),
    VolumeView("rotation", -30.0),
    VolumeView("rotation", 90.0),
    VolumeView("scaling", 0.9),
    VolumeView("scaling", 0.97),
    VolumeView("scaling", 1.0),
    VolumeView("scaling", 1.04),
    VolumeView("scaling", 1.1),
    VolumeView("mirror"),
]
NAMES = [f"{view.kind}{view.amount:g}" for view in VIEWS]
MARKS = {
    "rot": VolumeView("rotation", 12.5),
    "scale_up": VolumeView("scaling", 1.07),
    "scale_down": VolumeView("scaling", 0.93),
    "flip": VolumeView("mirror"),
}


def _volume(shape=(2, 17, 22), seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def _smooth(side=96, slices=2):
    y, x = np.mgrid[:side, :side] * (2 * np.pi / side)
    return np.stack([np.sin(y + z) + np.cos(2 * x - z) + 2 for z in range(slices)]).astype(np.float32)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "augment_3d_vol*.npz"))
def test_golden(path):
    data = np.load(path)
    images = data["vol_u8_div128"].astype(np.float32) / 128
    found = [key.removeprefix("img_") for key in data if key.startswith("img_")]
    assert found and set(found) <= set(MARKS)
    for name in found:
        np.testing.assert_allclose(apply_view(MARKS[name], images), data[f"img_{name}"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(apply_view(MARKS[name], data["prob"]), data[f"prob_{name}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
@pytest.mark.parametrize("shape", [(2, 17, 22), (1, 24, 24)])
def test_same_as_loops(view, shape):
    volume = _volume(shape)
    volume[:, 3, 3] = 0  # the scaling of the reference clips to the range, which then holds 0
    out, back = apply_view(view, volume), undo_view(view, volume)
    for index, picture in enumerate(volume):
        np.testing.assert_allclose(out[index], reference.view_slice(picture, view.kind, view.amount), atol=1e-6)
        np.testing.assert_allclose(back[index], reference.undo_slice(picture, view.kind, view.amount), atol=1e-6)
    if abs(view.amount) != 90:  # there rounding decides what lies outside: exact in ours, not in the loops
        np.testing.assert_array_equal(visible(view, shape[1:]), reference.visible(view.kind, view.amount, shape[1:]))


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_channels_are_carried_along_unmixed(view):
    volume = _volume((2, 17, 22, 8))
    for function in (apply_view, undo_view):
        together = function(view, volume)
        for channel in range(8):
            np.testing.assert_allclose(together[..., channel], function(view, volume[..., channel]), atol=1e-6)


def test_scaling_by_hand():
    """4 pixels x 1.5 = 6: the view shows pixels 1 to 4 of 6, which lie at 0.5, 1.17, 1.83, 2.5 of the original.

    Back: the original's pixel r lies at 1.5 r + 0.25 - 1 of the view: -0.75 (outside), 0.75, 2.25, 3.75 (outside).
    """
    view = VolumeView("scaling", 1.5)
    line = np.array([0, 3, 6, 9], np.float32)
    volume = np.broadcast_to(line, (1, 4, 4))
    seen = apply_view(view, volume)[0]
    np.testing.assert_allclose(seen, np.broadcast_to([1.5, 3.5, 5.5, 7.5], (4, 4)), rtol=1e-6)
    back = undo_view(view, seen[None])[0]
    # 0.25 of 1.5; 3.5 - 0.25 * 2; 5.5 + 0.25 * 2; 0.25 of 7.5. The outer rows also keep a quarter.
    expected = np.array([0.25, 1, 1, 0.25])[:, None] * [0.375, 3, 6, 1.875]
    np.testing.assert_allclose(back, expected, rtol=1e-6)
    assert visible(view, (4, 4)).tolist() == [[False] * 4, *[[False, True, True, False]] * 2, [False] * 4]


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_the_way_back_recovers_a_smooth_image(view):
    """The errors of two linear interpolations are at most (1 + 0.9^-2) / 8 * (2 pi / 96)^2 * (1 + 4) = 0.006.

    That is a step of 1 px, then one of up to 1 / 0.9 px, times the second derivatives along both axes.
    """
    volume = _smooth()
    back, is_visible = undo_view(view, apply_view(view, volume)), visible(view, volume.shape[1:])
    assert is_visible.mean() > 0.75
    np.testing.assert_allclose(back[:, is_visible], volume[:, is_visible], rtol=0, atol=0.006)


@pytest.mark.parametrize("percent", range(90, 111))
def test_exact_inverse_leaves_every_visible_pixel_in_its_place(percent):
    """Linear interpolation is exact on a ramp, so that what is left is displacement, in pixels.

    2 - s differs from 1 / s by (s - 1)^2 / s, up to half a pixel at the border of 96 x 96.
    """
    view = VolumeView("scaling", percent / 100)
    ramp = np.broadcast_to(np.arange(96, dtype=np.float32), (1, 96, 96))
    seen, is_visible = apply_view(view, ramp), visible(view, (96, 96))
    exact = undo_view(view, seen)
    published = apply_view(VolumeView("scaling", 2 - view.amount), seen)
    assert np.abs(exact - ramp)[:, is_visible].max() < 1e-4
    if percent in (90, 110):
        assert np.median(np.abs(published - ramp)[:, is_visible]) > 0.1


@pytest.mark.parametrize("view", VIEWS, ids=NAMES)
def test_labels_are_the_argmax_of_the_way_back(view):
    probabilities = _volume((3, 20, 20, 5))
    labels = undo_to_labels(view, probabilities)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, undo_view(view, probabilities).argmax(axis=-1))


def test_ranges_and_shares_of_the_draws():
    rng = np.random.default_rng(0)
    views = [draw_view(rng) for _ in range(3000)]
    amounts = {
        kind: np.array([v.amount for v in views if v.kind == kind]) for kind in ("rotation", "scaling", "mirror")
    }
    assert all(len(values) / 3000 == pytest.approx(1 / 3, abs=0.03) for values in amounts.values())
    assert -30 <= amounts["rotation"].min() < -29.5 and 29.5 < amounts["rotation"].max() <= 30
    assert amounts["scaling"].min() == 0.9 and amounts["scaling"].max() == 1.1
    np.testing.assert_array_equal(amounts["scaling"], np.round(amounts["scaling"], 2))


def test_two_views_never_both_mirror():
    rng = np.random.default_rng(1)
    pairs = [draw_two_views(rng) for _ in range(2000)]
    kinds = [(first.kind, second.kind) for first, second in pairs]
    assert ("mirror", "mirror") not in kinds
    assert len(set(kinds)) == 8  # any other pair
    assert draw_two_views(np.random.default_rng(5)) == draw_two_views(np.random.default_rng(5))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: VolumeView("shear"), "`kind` must be one of"),
        (lambda: VolumeView("scaling", 0.0), "must be positive"),
        (lambda: apply_view(VolumeView("mirror"), np.zeros((4, 4), np.float32)), "`volume` must be"),
    ],
)
def test_wrong_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
