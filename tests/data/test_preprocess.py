"""Preprocessing and its inverse.

Expected values: by hand where written out, `tests/reference/preprocess.py` (plain loops), recorded numbers of the
published code, which calls scikit-image (golden), and real ACDC volumes.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.ndimage

from fewslice.core.errors import ConfigError
from fewslice.data import preprocess
from tests.data.layouts import SHARED_DATA
from tests.golden_files import golden_param
from tests.reference import preprocess as reference

TIES = 1e-3  # share of pixels that may differ where two classes or two pixels are equally near

# native in-plane shape, slices, spacing, target resolution, size of the network's grid
GEOMETRIES = {
    "up_padded": ((9, 12), 3, (1.8, 1.7), 1.37, (24, 24)),
    "up_cropped": ((13, 10), 2, (2.0, 1.9), 1.0, (16, 16)),
    "down": ((21, 18), 9, (1.0, 1.1), 1.37, (16, 16)),
    "strongly_down": ((31, 34), 2, (0.5, 0.45), 1.4, (8, 8)),
    "mixed": ((16, 19), 2, (0.8, 2.0), 1.37, (14, 14)),
    "same": ((14, 15), 1, (1.5, 1.5), 1.5, (14, 16)),
    "rectangular_grid": ((20, 11), 17, (1.0, 1.3), 0.9, (12, 22)),
    "one_pixel": ((3, 2), 1, (0.1, 0.1), 1.0, (4, 3)),
}


def _arguments(name):
    shape, depth, spacing, target, size = GEOMETRIES[name]
    return (*shape, depth), (*spacing, 8.0), {"target_resolution": (target, target), "size": size}


def _rescaled(shape, spacing, target):
    return tuple(max(round(n * s / t), 1) for n, s, t in zip(shape[:2], spacing[:2], target, strict=True))


# --- normalise


def test_normalise_maps_percentiles_to_zero_and_one_without_clipping():
    image = np.arange(101, dtype=np.int16)  # percentiles 1 and 99 are 1 and 99
    result = preprocess.normalise(image)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, (np.arange(101) - 1) / 98, rtol=1e-12)
    assert result[0] < 0 and result[-1] > 1


@pytest.mark.parametrize("percentiles", [(1, 99), (0, 100), (2.5, 80)])
def test_normalise_equals_loop(percentiles):
    image = np.random.default_rng(0).normal(100, 30, (5, 4, 3)).astype(np.float32)
    low, high = (reference.percentile(image, q) for q in percentiles)
    expected = (image.astype(float) - low) / (high - low)
    np.testing.assert_allclose(preprocess.normalise(image, percentiles), expected, rtol=1e-10, atol=1e-12)


def test_normalise_where_percentiles_coincide():
    np.testing.assert_array_equal(preprocess.normalise(np.full((3, 3, 2), 7.0)), np.zeros((3, 3, 2)))
    result = preprocess.normalise(50.0 * np.eye(1, 1000))
    assert result[0, 0] == 1.0 and not result[0, 1:].any()


def scan(seed=0, shape=(40, 44, 8)):
    """A body of about 0 with an organ of 120 in air of -1000, in integers."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.arange(shape[0])[:, None] - 20, np.arange(shape[1]) - 22)[..., None]
    image = np.where(radius < 9, 120.0, 0.0) + rng.normal(0, 15, shape)
    return np.round(np.where(radius > 16, -1000 + rng.normal(0, 3, shape), image)), np.broadcast_to(radius, shape)


def contrast(image, radius):
    return image[radius < 8].mean() - image[(radius > 10) & (radius < 15)].mean()


@pytest.mark.parametrize("value", [-32768.0, -3024.0, -2000.0, 65535.0])
@pytest.mark.parametrize("share", [0.05, 0.36, 0.7])
def test_padding_is_left_out_of_the_percentiles(value, share):
    image, radius = scan()
    border = radius > 17 if share < 0.6 else (np.arange(8) > 1) & (radius >= 0)
    border &= np.random.default_rng(1).random(image.shape) < share / border.mean()
    padded = np.where(border, value, image)
    padding = preprocess.find_padding(padded)
    assert padding.value == value and padding.share == pytest.approx(border.mean()) and share - 0.1 < padding.share
    result = preprocess.normalise(padded)
    assert contrast(result, np.where(border, 99, radius)) == pytest.approx(
        contrast(preprocess.normalise(image[~border]), radius[~border]), rel=0.02
    )
    assert (result[border] == 0).all() and result.min() > -0.1 and result.max() < 1.3


def test_what_is_no_padding_changes_nothing():
    image, radius = scan()
    rng = np.random.default_rng(2)
    for values in (
        image,
        np.where(radius > 19, -1024, image),  # just below air
        np.where(radius > 16, 0, 300 + rng.normal(0, 90, image.shape)),  # skull-stripped MRI
        np.where(radius > 19, 255, 128 + 100 * np.sin(image)),  # a white border
        np.where(radius < 1, -32768, image),  # a few voxels
        np.where(radius > 16, -20, np.where(radius < 9, 12, -4)),  # a drawing
    ):
        assert preprocess.find_padding(values) is None
        low, high = np.percentile(values, (1, 99))
        np.testing.assert_array_equal(preprocess.normalise(values), (values - low) / (high - low))
    drawn = np.where(radius > 19, -32768, np.where(radius > 16, -1000, np.where(radius < 9, 120, 30)))
    assert preprocess.find_padding(drawn).value == -32768
    large = np.where(radius > 16, 0, 30000 + image)
    assert preprocess.find_padding(large).value == 0, "0 far below everything else is padding too"


# --- crop_or_pad


def test_crop_or_pad_by_hand():
    np.testing.assert_array_equal(preprocess.crop_or_pad(np.array([[1, 2], [3, 4]]), (3, 1)), [[1], [3], [0]])
    row = np.arange(1, 6)[np.newaxis]
    np.testing.assert_array_equal(preprocess.crop_or_pad(row, (1, 2)), [[2, 3]])  # (5 - 2) // 2 = 1


@pytest.mark.parametrize("shape", [(5, 5), (5, 9), (9, 5), (7, 7), (8, 6), (6, 8), (12, 13), (1, 20)])
@pytest.mark.parametrize("channels", [(), (3,), (2, 2)])
def test_crop_or_pad_equals_loop(shape, channels):
    array = np.random.default_rng(0).integers(1, 99, (*shape, *channels)).astype(np.int16)
    result = preprocess.crop_or_pad(array, (7, 7))
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, reference.crop_or_pad(array, (7, 7)))


# --- forward


@pytest.mark.parametrize("anti_aliasing", ("default", "off"))
@pytest.mark.parametrize("name", GEOMETRIES)
def test_prepare_image_equals_loop(name, anti_aliasing):
    shape, spacing, kwargs = _arguments(name)
    image = np.random.default_rng(0).random(shape) + 0.2  # above 0, so that the border is clipped
    rescaled = _rescaled(shape, spacing, kwargs["target_resolution"])
    result = preprocess.prepare_image(image, spacing, **kwargs, anti_aliasing=anti_aliasing)
    assert result.shape == (shape[2], *kwargs["size"]) and result.dtype == np.float32
    for index in range(shape[2]):
        resized = reference.resize_slice(image[..., index], rescaled, anti_aliasing == "default")
        expected = reference.crop_or_pad(resized, kwargs["size"])
        np.testing.assert_allclose(result[index], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_prepare_label_equals_loop(name):
    shape, spacing, kwargs = _arguments(name)
    label = np.random.default_rng(0).integers(0, 5, shape).astype(np.uint8)
    rescaled = _rescaled(shape, spacing, kwargs["target_resolution"])
    result = preprocess.prepare_label(label, spacing, **kwargs, rule="nearest")
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    for index in range(shape[2]):
        expected = reference.crop_or_pad(reference.resize_label(label[..., index], rescaled), kwargs["size"])
        np.testing.assert_array_equal(result[index], expected)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_prepare_label_by_area_equals_loop(name):
    shape, spacing, kwargs = _arguments(name)
    label = np.random.default_rng(0).integers(0, 5, shape[:2]).astype(np.uint8)[..., None]
    rescaled = _rescaled(shape, spacing, kwargs["target_resolution"])
    result = preprocess.prepare_label(label, spacing, target_resolution=kwargs["target_resolution"], size=rescaled)[0]
    expected = reference.resize_label_by_area(label[..., 0], rescaled)
    around = np.pad(expected, 1, constant_values=255)
    for i, j in np.argwhere(result != expected):  # a small structure that would vanish
        assert result[i, j] > 0 and not (around[i : i + 3, j : j + 3] == result[i, j]).any()
    assert (result == expected).mean() > 0.7


RATIOS = (48 / 96, 24 / 96, 32 / 96, 72 / 96, 64 / 96, 77 / 96, 58 / 96, 40 / 96, 1.37, 1.5, 2.0, 1.25, 0.8)


@pytest.mark.parametrize("ratio", RATIOS)
def test_labels_lie_where_their_images_do(ratio):
    """Rings about 60 places and edges at 48 places: the mean shift on the network's grid, in its pixels."""
    x, y = np.meshgrid(np.arange(96), np.arange(96), indexing="ij")
    new = round(96 * ratio)
    kwargs = {"target_resolution": (1.0, 1.0), "size": (new, new)}
    spacing = (new / 96, new / 96, 5.0)
    half = np.random.default_rng(0).uniform(-3, 3, (30, 2))
    places = 47.5 + np.concatenate([half, -half])  # mirrored pairs: only a rule that prefers a side shifts their mean
    distances = [np.hypot(x - a, y - b) for a, b in places]
    rings = np.stack([(d >= 12) & (d < 20) for d in distances], axis=-1).astype(np.uint8)
    label = preprocess.prepare_label(rings, spacing, **kwargs)
    for prepared in (label, preprocess.prepare_image(rings, spacing, **kwargs)):
        middles = [scipy.ndimage.center_of_mass(plane) for plane in prepared]
        np.testing.assert_allclose(np.mean(middles, axis=0), (new - 1) / 2, atol=0.02)
    for axis in (x, y, x + y, x - y, x + 2 * y, 2 * x - y):
        middle = (axis.min() + axis.max()) // 2
        edges = np.stack([axis > middle + place for place in range(-24, 24)], axis=-1).astype(np.uint8)
        shares = preprocess.prepare_label(edges, spacing, **kwargs).mean() - edges.mean()
        assert abs(shares * new) < 0.02, "pixels by which the edge has moved"


def test_published_rule_shifts_labels():
    label = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 1), np.uint8)
    kwargs = {"target_resolution": (2.0, 2.0), "size": (4, 4)}
    published = preprocess.prepare_label(label, (1, 1, 1), **kwargs, rule="nearest")
    assert published[0, :, 0].tolist() == [1, 3, 5, 7]
    assert set(preprocess.prepare_label(label, (1, 1, 1), **kwargs).mean(axis=(0, 2)).tolist()) == {0.5, 2.5, 4.5, 6.5}


def test_a_perfect_network_is_limited_less():
    """A ring of five pixels at half the size: hard labels reach .91 on the native grid (.89 by the nearest pixel)."""
    x, y = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    dice = {"area": [], "nearest": []}
    for a, b in 63.5 + np.random.default_rng(0).uniform(-2, 2, (20, 2)):
        ring = (np.abs(np.hypot(x - a, y - b) - 17.5) < 2.5).astype(np.uint8)[..., None]
        for rule, values in dice.items():
            grid = {"target_resolution": (2.0, 2.0)}
            prepared = preprocess.prepare_label(ring, (1, 1, 1), size=(64, 64), rule=rule, **grid)
            back = preprocess.restore_probabilities(np.eye(2)[prepared], ring.shape, (1, 1, 1), **grid)
            values.append(2 * (back & ring).sum() / (back.sum() + ring.sum()))
    assert np.mean(dice["area"]) > 0.905 > 0.895 > np.mean(dice["nearest"])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_small_structures_survive(factor):
    places = np.random.default_rng(0).integers(8, 80, (40, 2))
    label = np.zeros((96, 96, 40), np.uint8)
    for index, (a, b) in enumerate(places):
        label[a : a + 2, b : b + 2, index] = 3
    size = (96 // factor, 96 // factor)
    result = preprocess.prepare_label(label, (1, 1, 1), target_resolution=(factor, factor), size=size)
    assert ((result == 3).sum(axis=(1, 2)) == 1).all() and set(np.unique(result)) == {0, 3}
    middles = np.array([scipy.ndimage.center_of_mass(plane) for plane in result])
    assert np.abs((middles + 0.5) * factor - 0.5 - (places + 0.5)).max() <= factor / 2


@pytest.mark.parametrize("spacing", [0.5, 0.25, 1 / 3, 0.73, 1.0, 1.37, 2.0])
@pytest.mark.parametrize("axis", ["straight", "oblique"])
def test_thin_scribbles_survive_and_do_not_spread(spacing, axis):
    scribble = np.full((96, 96, 1), 4, np.uint8)
    along = np.arange(10, 80)
    scribble[along, 40 if axis == "straight" else along] = 2
    scribble[20, 60:80] = 0
    kwargs = {"target_resolution": (1.0, 1.0), "size": (224, 224)}
    result = preprocess.prepare_label(scribble, (spacing, spacing, 5), **kwargs, fill=4)[0]
    assert set(np.unique(result)) == {0, 2, 4}
    length = len(along) * spacing
    rows = np.flatnonzero((result == 2).any(axis=1))
    assert abs(len(rows) - length) <= 2 and (np.diff(rows) == 1).all(), "no gap"
    assert (result == 2).sum() <= (length + 2) * max(2.0, 2 * spacing), "two pixels wide at most where it shrinks"
    assert (result == 0).any() and (result == 4).mean() > 0.9


# --- backward


@pytest.mark.parametrize("anti_aliasing", ("default", "off"))
@pytest.mark.parametrize("name", GEOMETRIES)
def test_restore_equals_loop(name, anti_aliasing):
    shape, spacing, kwargs = _arguments(name)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), (shape[2], *kwargs["size"]))
    rescaled = _rescaled(shape, spacing, kwargs["target_resolution"])
    result = preprocess.restore_probabilities(
        probabilities.astype(np.float32),
        shape,
        spacing,
        target_resolution=kwargs["target_resolution"],
        anti_aliasing=anti_aliasing,
    )
    assert result.shape == shape and result.dtype == np.uint8
    for index in range(shape[2]):
        maps = probabilities[index].astype(np.float32).astype(float)
        expected = reference.restore_slice(maps, rescaled, shape[:2], anti_aliasing == "default")
        np.testing.assert_array_equal(result[..., index], expected)


def test_restore_is_background_outside_the_crop():
    probabilities = np.zeros((1, 4, 4, 3), np.float32)
    probabilities[..., 2] = 1.0
    result = preprocess.restore_probabilities(probabilities, (8, 10, 1), (1, 1, 1), target_resolution=(1, 1))
    expected = np.zeros((8, 10, 1))
    expected[2:6, 3:7] = 2
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("size, new", [(30, 30), (30, 17), (17, 30), (40, 3), (5, 1), (1, 4), (309, 212)])
@pytest.mark.parametrize("smooth", [True, False])
def test_resizing_of_an_axis_is_that_of_scipy(size, new, smooth):
    expected, sigma, how = np.eye(size), (size / new - 1) / 2, {"mode": "grid-constant"}
    if smooth and sigma > 0:
        expected = scipy.ndimage.gaussian_filter1d(expected, sigma, axis=0, **how)
    expected = scipy.ndimage.zoom(expected, (new / size, 1), order=1, grid_mode=True, **how)
    found = preprocess.resize_matrix(size, new, smooth=smooth)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-15)


@pytest.mark.parametrize("spacing, target", [((0, 1), (1, 1)), ((1, 1), (1, -1)), ((1,), (1, 1)), ((1, 1), (1,))])
def test_resampling_factors_rejects(spacing, target):
    with pytest.raises(ConfigError, match="Spacings must be"):
        preprocess.resampling_factors(spacing, target)


# --- golden


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "normalize_minmax*.npz"))
def test_golden_normalise(path):
    data = np.load(path)
    np.testing.assert_allclose(preprocess.normalise(data["vol"]), data["out"], rtol=0, atol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "crop_or_pad*.npz"))
def test_golden_crop_or_pad(path):
    data = np.load(path)
    outputs = [(re.match(r"out(?:(\d+)x(\d+)|1hot)_(\d+_\d+)$", key), key) for key in data]
    assert any(match for match, _ in outputs)
    for match, key in outputs:
        if match is None:
            continue
        array, expected = data[f"in_{match[3]}"], data[key]
        if match[1]:
            result = preprocess.crop_or_pad(array, (int(match[1]), int(match[2])))
        else:
            result = preprocess.crop_or_pad(array[..., np.newaxis], expected.shape)[..., 0]
        np.testing.assert_array_equal(result, expected)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "preprocess_*.npz"))
@pytest.mark.parametrize("suffix, anti_aliasing", [("skimage026", "default"), ("noAA", "off")])
def test_golden_preprocess(path, suffix, anti_aliasing):
    data = np.load(path)
    image = data["vol_u8_div128"] / 128.0
    geometry = {"target_resolution": data["target_resolution"]}
    prepared = preprocess.prepare_image(
        image, data["pixel_size"], **geometry, size=data["size"], anti_aliasing=anti_aliasing
    )
    np.testing.assert_allclose(np.moveaxis(prepared, 0, -1), data[f"img_{suffix}"], rtol=0, atol=1e-6)
    label = preprocess.prepare_label(data["mask"], data["pixel_size"], **geometry, size=data["size"], rule="nearest")
    assert (np.moveaxis(label, 0, -1) != data[f"mask_{suffix}"]).mean() <= TIES
    restored = preprocess.restore_probabilities(
        data["prob"], image.shape, data["pixel_size"], **geometry, anti_aliasing=anti_aliasing
    )
    assert (restored != data[f"pred_{suffix}"]).mean() <= TIES


# --- real data


@pytest.mark.realdata
@pytest.mark.parametrize("patient", ["007", "043"])
def test_real_label_survives_the_way_there_and_back(patient):
    paths = sorted((SHARED_DATA / "acdc_nifti" / f"patient{patient}").glob("*_gt.nii.gz"))
    if not paths:
        pytest.skip(f"no ACDC volumes below {SHARED_DATA}; set FEWSLICE_SHARED_DATA")
    import nibabel as nib

    for path in paths:
        file = nib.load(path)
        label, spacing = np.asarray(file.dataobj).astype(np.uint8), file.header.get_zooms()
        kwargs = {"target_resolution": (1.36719, 1.36719)}
        prepared = preprocess.prepare_label(label, spacing, **kwargs, size=(192, 192))
        one_hot = np.eye(4, dtype=np.float32)[prepared]
        restored = preprocess.restore_probabilities(one_hot, label.shape, spacing, **kwargs)
        for structure in (1, 2, 3):
            common = ((restored == structure) & (label == structure)).sum()
            assert 2 * common / ((restored == structure).sum() + (label == structure).sum()) > 0.93
