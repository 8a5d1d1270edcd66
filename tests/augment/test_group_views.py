"""Views for group contrastive training.

Expected values: golden file (torchvision's pieces), pixel loops in tests/reference/group_views.py, and hand cases.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from fewslice.augment.group_views import (
    affine_nearest,
    apply_views,
    blur,
    draw_views,
    resized_crop,
)
from tests.golden_files import golden
from tests.reference import group_views as reference

JSON = golden("coreclr", "augment_primitives.json")
NPZ = golden("coreclr", "augment_primitives.npz")
RECORDS = {record["name"]: record for record in json.loads(JSON[0].read_text())} if JSON else {}
NAMES = [] if not NPZ else [name for name in np.load(NPZ[0]).files if name.startswith("tv_") and name != "tv_image"]
NAMES = NAMES or [
    pytest.param(None, marks=pytest.mark.skip(reason="no golden files; set FEWSLICE_GOLDEN"), id="absent")
]


def picture(shape=(12, 10), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_golden_pieces(name):
    with np.load(NPZ[0]) as data:
        image, expected = data["tv_image"][0], data[name][0]
    record = RECORDS.get(name.split("_antialias")[0], {})
    if "crop" in name:
        found = resized_crop(image[..., None], [record[key] for key in ("top", "left", "height", "width")])
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-5, atol=1e-6)
    elif "affine" in name:
        assert record["shear"][1] == 0 and record["interpolation"] == "nearest"
        found = affine_nearest(
            image[..., None],
            degrees=record["angle"],
            shift=record["translate"],
            scale=record["scale"],
            shear=record["shear"][0],
        )
        assert np.mean(found[..., 0] != expected) < 0.005  # ties of the nearest pixel
    else:
        sigma = float(re.fullmatch(r"tv_blur_sigma([\d.]+)", name)[1])
        np.testing.assert_allclose(blur(image[None, ..., None], [sigma])[0, ..., 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("box", [(0, 0, 12, 10), (2, 1, 9, 8), (5, 4, 1, 3)])
def test_crop_equals_the_loops(box):
    image = picture()
    found = resized_crop(image[..., None], box)[..., 0]
    np.testing.assert_allclose(found, reference.resized_crop(image, box), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("degrees", "shift", "scale", "shear"),
    [(0.0, (0, 0), 1.0, 0.0), (7.3, (2, -1), 1.13, -4.2), (-14.0, (0, 1), 0.83, 9.1), (90.0, (0, 0), 1.0, 0.0)],
)
def test_affine_equals_the_loops(degrees, shift, scale, shear):
    image = picture((13, 13))
    found = affine_nearest(image[..., None], degrees=degrees, shift=shift, scale=scale, shear=shear)[..., 0]
    np.testing.assert_array_equal(found, reference.affine_nearest(image, degrees, shift, scale, shear))


def test_affine_by_hand():
    image = np.arange(9, dtype=np.float32).reshape(3, 3, 1)
    still = {"scale": 1.0, "shear": 0.0}
    shifted = affine_nearest(image, degrees=0, shift=(1, 0), **still)[..., 0]
    assert shifted.tolist() == [[0, 0, 1], [0, 3, 4], [0, 6, 7]]
    turned = affine_nearest(image, degrees=90, shift=(0, 0), **still)[..., 0]
    assert turned.tolist() == np.rot90(image[..., 0], -1).tolist(), "clockwise"


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_equals_the_loops(sigma):
    image = picture()
    found = blur(np.stack([image, image])[..., None], [1.0, sigma])[1, ..., 0]
    np.testing.assert_allclose(found, reference.blur(image, sigma), rtol=1e-5, atol=1e-6)


def test_views_are_the_pieces_in_order():
    images = np.random.default_rng(0).normal(size=(12, 20, 16, 2)).astype(np.float32)
    draws = draw_views(np.random.default_rng(7), 12, (20, 16))
    assert draws.erased.any(axis=1).sum() > 1 and 1 < draws.mirrored.sum() < 11
    found = apply_views(images, draws)
    for index, image in enumerate(images):
        for channel in range(2):
            x = reference.resized_crop(image[..., channel], draws.crops[index])
            x = x[:, ::-1] if draws.mirrored[index] else x
            place = draws.degrees[index], draws.shifts[index], draws.scales[index], draws.shears[index]
            x = reference.blur(reference.affine_nearest(x, *place), draws.sigmas[index])
            top, left, rows, columns = draws.erased[index]
            x[top : top + rows, left : left + columns] = 0
            np.testing.assert_allclose(found[index, ..., channel], x, rtol=1e-4, atol=1e-5)


def test_draws_stay_within_their_limits():
    draws = draw_views(np.random.default_rng(0), 4000, (80, 90))
    top, left, rows, columns = draws.crops.T
    assert np.all(top + rows <= 80) and np.all(left + columns <= 90) and draws.crops.min() >= 0
    area, aspect = rows * columns / 7200, columns / rows
    assert 0.78 < area.min() and area.max() <= 1 and area.std() > 0.03
    assert 0.85 < aspect.min() < 0.95 and 1.3 < aspect.max() < 1.35  # narrower ones are higher than the image
    assert draws.mirrored.mean() == pytest.approx(0.5, abs=0.03)
    for values, low, high in (
        (draws.degrees, -15, 15),
        (draws.shifts[:, 0], -18, 18),
        (draws.shifts[:, 1], -16, 16),
        (draws.scales, 0.8, 1.2),
        (draws.shears, -10, 10),
        (draws.sigmas, 0.1, 2),
    ):
        assert low <= values.min() < low + 0.05 * (high - low) and high - 0.05 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    boxes = draws.erased[draws.erased[:, 2] > 0]
    assert len(boxes) / 4000 == pytest.approx(0.2, abs=0.03)
    area, aspect = boxes[:, 2] * boxes[:, 3] / 7200, boxes[:, 2] / boxes[:, 3]
    assert 0.015 < area.min() < 0.03 and 0.31 < area.max() < 0.34
    assert 0.27 < aspect.min() < 0.4 and 2.4 < aspect.max() < 3.6
    assert np.all(boxes[:, 0] + boxes[:, 2] <= 80) and np.all(boxes[:, 1] + boxes[:, 3] <= 90)


def test_a_long_image_takes_the_box_in_its_middle():
    draws = draw_views(np.random.default_rng(0), 2, (20, 100))
    assert draws.crops.tolist() == [[0, 36, 20, 27]] * 2
    draws = draw_views(np.random.default_rng(0), 1, (100, 20))
    assert draws.crops.tolist() == [[36, 0, 27, 20]]
