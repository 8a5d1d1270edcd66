"""Preprocessing and its inverse.

Expected values: by hand where written out, `tests/reference/preprocess.py` (plain loops), recorded numbers of the
published code, which calls scikit-image (golden), and real ACDC volumes.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from fewslice.core.errors import ConfigError, FewSliceError
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


@pytest.mark.parametrize("percentiles", [(99, 1), (50, 50), (-1, 99), (1, 101), (float("nan"), 99)])
def test_normalise_rejects_percentiles(percentiles):
    with pytest.raises(ConfigError, match="`percentiles` must increase"):
        preprocess.normalise(np.arange(10.0), percentiles)


@pytest.mark.parametrize("image", [np.array([1.0, np.nan]), np.array([np.inf, 1.0]), np.empty((0, 3))])
def test_normalise_rejects_what_is_not_finite(image):
    with pytest.raises(FewSliceError, match="finite intensities"):
        preprocess.normalise(image)


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


@pytest.mark.parametrize("anti_aliasing", preprocess.ANTI_ALIASING)
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


# --- backward


@pytest.mark.parametrize("anti_aliasing", preprocess.ANTI_ALIASING)
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


def test_restore_rejects_another_number_of_slices():
    with pytest.raises(ValueError, match="`native_shape`"):
        preprocess.restore_probabilities(np.zeros((2, 4, 4, 3)), (8, 8, 3), (1, 1), target_resolution=(1, 1))


def test_unknown_anti_aliasing_suggests_a_name():
    with pytest.raises(ConfigError, match="Did you mean 'default'"):
        preprocess.prepare_image(
            np.zeros((3, 3, 1)), (1, 1), target_resolution=(1, 1), size=(3, 3), anti_aliasing="defalt"
        )


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
