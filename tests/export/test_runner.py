"""The exported program against the library: the same formulas, in NumPy alone."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import scipy.ndimage

from fewslice.data.io import geometry
from fewslice.data.io.nifti import read_nifti
from fewslice.data.preprocess import resize_matrix
from fewslice.data.volume import image_to_grid, label_from_grid, with_channel_axis
from fewslice.export import runner
from fewslice.settings import datasets
from fewslice.train.predict import averaged, mirrored, sliding_window, softmax

PREPARED = {
    "resampled and cropped": {"img_size_x": "32", "img_size_y": "32", "target_resolution": "1.0,1.4"},
    "padded": {"img_size_x": "96", "img_size_y": "64", "target_resolution": "0.8,2.5"},
    "not smoothed": {"anti_aliasing": "off", "target_resolution": "3,3", "percentiles": "2,97"},
    "stretched": {"grid": "stretch", "img_size_x": "64", "img_size_y": "32"},
    "native": {"grid": "native", "intensity": "as_stored"},
}


def dataset_of(overrides):
    return datasets.load_dataset_config("acdc", overrides)


def settings_of(dataset):
    from fewslice.stages.predict import preparation

    return preparation(dataset)


def images():
    rng = np.random.default_rng(0)
    noise = rng.gamma(2.0, 60.0, (41, 37, 3)).astype(np.float32)
    padded = noise.copy()
    padded[:8] = -2000
    yield "noise", noise
    yield "padding", padded
    yield "nearly constant", np.where(noise > noise.max() - 1, 5, 0).astype(np.float32)
    yield "constant", np.full((9, 8, 2), 7, np.float32)
    yield "colours", rng.random((20, 33, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("overrides", PREPARED.values(), ids=PREPARED)
def test_scans_go_to_the_grid_and_probabilities_come_back(overrides):
    dataset, spacing = dataset_of(overrides), (1.7, 1.2, 8.0)
    settings = settings_of(dataset)
    for name, image in images():
        ours = with_channel_axis(image_to_grid(image, spacing, dataset))
        theirs = runner.to_grid(image, spacing, settings)
        assert theirs.dtype == np.float32
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=2e-6, err_msg=name)
        logits = np.random.default_rng(1).normal(0, 3, (*ours.shape[:3], 4))
        found = softmax(logits.astype(np.float32))
        label, maps = runner.from_grid(found, image.shape[:3], spacing, settings, True)
        np.testing.assert_array_equal(label, label_from_grid(found, image.shape[:3], spacing, dataset))
        expected = label_from_grid(found, image.shape[:3], spacing, dataset, as_label=False)
        np.testing.assert_allclose(maps, expected, atol=1e-6)
        np.testing.assert_array_equal(maps.argmax(axis=-1), label)


@pytest.mark.parametrize("size, new", [(30, 30), (30, 17), (17, 30), (40, 3), (5, 1), (1, 4)])
def test_resizing_of_an_axis(size, new):
    for smooth in (True, False):
        expected = resize_matrix(size, new, smooth=smooth).toarray()
        np.testing.assert_allclose(runner.resize_matrix(size, new, smooth), expected, atol=1e-12)


def test_largest_components():
    label = np.random.default_rng(0).choice([0, 1, 2], (24, 20, 6), p=[0.5, 0.3, 0.2]).astype(np.uint8)
    label[12:, :10, 2] = 1
    found = runner.largest_components(label)
    for value in (1, 2):
        parts, _ = scipy.ndimage.label(label == value)
        first_of_largest = 1 + np.bincount(parts.ravel())[1:].argmax()  # parts are numbered by their first voxel
        np.testing.assert_array_equal(found == value, parts == first_of_largest)
    assert not runner.largest_components(np.zeros((2, 3, 1), np.uint8)).any()


def test_a_winding_path_is_one_component():
    label = np.zeros((41, 41, 1), np.uint8)
    label[::2] = 1
    label[1::4, 40] = label[3::4, 0] = 1
    np.testing.assert_array_equal(runner.largest_components(label), label)


@pytest.mark.parametrize("code", ["RAS", "LPS", "PRS", "ALI", "SRA"])
def test_axes(tmp_path, code):
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(code), (5, 4, 3)) @ np.diag([1.1, 1.2, 3, 1])
    file = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), affine)
    nib.save(file, tmp_path / "a.nii")
    grid = read_nifti(tmp_path / "a.nii")
    axes = geometry.canonical_axes(grid.affine)
    assert runner.canonical_axes(file.header, file.affine) == axes
    there = runner.turned(grid.array, axes)
    np.testing.assert_array_equal(there, geometry.turned(grid.array, axes))
    np.testing.assert_array_equal(runner.turned_back(there, axes), grid.array)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4), (5, 6, 1, 4), (5, 6, 4, 2), (5, 6, 4, 1)])
def test_files_are_read_alike(tmp_path, shape):
    values = np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)
    file = nib.Nifti1Image(values, np.eye(4))
    file.header.set_slope_inter(0.37, -12.5)
    nib.save(file, tmp_path / "a.nii.gz")
    _, image = runner.read_scan(tmp_path / "a.nii.gz", {"image_channel": 0, "num_channels": 1})
    np.testing.assert_array_equal(image, read_nifti(tmp_path / "a.nii.gz").array)


def test_all_channels_are_read_alike(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (5, 6, 4, 1, 3)).astype(np.uint8)  # as ITK stores vectors
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    _, image = runner.read_scan(tmp_path / "a.nii.gz", {"image_channel": 0, "num_channels": 3})
    assert image.shape == (5, 6, 4, 3)
    np.testing.assert_array_equal(image, read_nifti(tmp_path / "a.nii.gz", num_channels=3).array)


def test_colours_are_read_alike(tmp_path):
    values = np.zeros((5, 6, 2), [(name, "u1") for name in "RGB"])
    for name in "RGB":
        values[name] = np.random.default_rng(ord(name)).integers(0, 255, values.shape)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    for channels in (1, 3):
        _, image = runner.read_scan(tmp_path / "a.nii.gz", {"image_channel": 0, "num_channels": channels})
        expected = read_nifti(tmp_path / "a.nii.gz", num_channels=channels).array
        np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_ensembles_of_slices_and_windows():
    image = np.random.default_rng(0).random((5, 9, 7, 1), np.float32)
    ramp = np.arange(4, dtype=np.float32)

    def network(batch, weight=1.0):
        return np.concatenate([batch * weight, batch**2, batch[..., ::1] * 0 + ramp[: batch.shape[-2], None] / 4], -1)

    slices = {"networks": [{"window": None}] * 2, "batch_size": 2, "mirroring": True}
    narrow = image[:, :, :4]
    calls = [lambda batch: network(batch), lambda batch: network(batch, 3.0)]
    direct = [lambda images, call=call: softmax(call(images)) for call in calls]
    found = runner.probabilities_of(calls, narrow, slices)
    np.testing.assert_allclose(found, mirrored(averaged(direct))(narrow), atol=1e-6)
    windows = {"networks": [{"window": [3, 4, 4]}], "batch_size": 2, "mirroring": False}
    expected = sliding_window(network, image, (3, 4, 4), batch_size=2)
    np.testing.assert_allclose(runner.probabilities_of([network], image, windows), expected, atol=1e-6)


def test_messages(tmp_path, capsys):
    with pytest.raises(SystemExit, match="expected a scan"):
        runner.find_scans([str(tmp_path)])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.nii").write_text("")
    (tmp_path / "a" / "y.mha").write_text("")
    assert [*runner.find_scans([str(tmp_path / "a")])] == ["x"]
    assert "no NIfTI files and left out: y.mha" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="have one name"):
        runner.find_scans([str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(SystemExit):
        runner.main(["--help"])
    assert "largest_component" in capsys.readouterr().out
    assert json.dumps(runner.FLIPS) == "[[], [1], [2], [1, 2]]"
