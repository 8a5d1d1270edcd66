"""Painted files of 3D Slicer and ITK-SNAP. Expected: the array that was painted, whatever the file does to it."""

from __future__ import annotations

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import DataError
from fewslice.data.io import geometry
from fewslice.data.painted import completed, find_painted, painting_grid, read_painted
from fewslice.data.readers import get_reader
from tests.data import headers, slicer
from tests.data.layouts import dataset, image

pytest.importorskip("SimpleITK")
SHAPE, NAMES, IGNORE = (15, 17, 5), ("rv", "left ventricle"), 3


def scan(folder, kind="usual", **changes):
    """Returns a volume of a dataset of one scan whose header is of a kind."""
    headers.write(folder / "scans" / "a" / "img.nii.gz", image(shape=SHAPE).astype(np.float32), kind)
    settings = dataset("case_folders", orientation="canonical", data_root=folder, **changes)
    reader = get_reader(settings)
    (case,) = reader.cases()
    return reader.read(case, with_label=False)


def painted():
    """Returns (X, Y, Z) labels of a scan's file: slice 2 painted, slice 3 cleared, the rest not annotated."""
    array = np.full(SHAPE, IGNORE, np.uint8)
    array[..., 2:4] = 0
    array[3:7, 4:9, 2], array[8:10, 4:9, 2] = 1, 2
    return array


def in_volume(volume, array):
    return geometry.turned(array, volume.axes)


def read(path, volume, **how):
    return read_painted(path, volume, names=NAMES, ignore=IGNORE, **how)


ENDINGS = [".nii", ".nii.gz", ".nrrd", ".mha"]


@pytest.mark.parametrize("kind", headers.KINDS)
def test_label_maps_of_itk_programs_on_the_handed_out_grid(tmp_path, kind):
    volume = scan(tmp_path, kind)
    ending = ENDINGS[list(headers.KINDS).index(kind) % 4]
    path = slicer.label_map(tmp_path / f"a_annotation{ending}", painted(), painting_grid(volume)[0])
    assert np.array_equal(read(path, volume), in_volume(volume, painted()))


@pytest.mark.parametrize("kind", headers.KINDS)
def test_segments_are_matched_by_name(tmp_path, kind):
    """Numbers and order differ from ours, names in capitals and underscores; an empty segment has no known name."""
    volume, array = scan(tmp_path, kind), painted()
    layer = np.select([array == 1, array == 2, array == 3], [7, 1, 2], 0).astype(np.uint8)[np.newaxis]
    segments = [("Left_Ventricle", 0, 1), ("not annotated", 0, 2), ("Segment_1", 0, 5), ("RV", 0, 7)]
    path = slicer.segmentation(tmp_path / "a.seg.nrrd", layer, painting_grid(volume)[0], segments)
    assert np.array_equal(read(path, volume), in_volume(volume, array))


def test_layers_and_files_of_earlier_versions(tmp_path):
    """Segments that overlap lie in layers: what is painted over "not annotated" counts; background too."""
    volume, array = scan(tmp_path), painted()
    layers = np.stack([np.where(array == 0, 9, 4), array == 1, array == 2]).astype(np.uint8)
    layers[0, :, :, 0] = 4
    segments = [("background", 0, 9), ("not annotated", 0, 4), ("rv", 1, 1), ("left ventricle", 2, 1)]
    affine = painting_grid(volume)[0]
    path = slicer.segmentation(tmp_path / "a.seg.nrrd", layers, affine, segments)
    assert np.array_equal(read(path, volume), in_volume(volume, array))
    binary = np.stack([array == 3, array == 1, array == 2]).astype(np.uint8)
    old = [("not annotated", 0, 1), ("rv", 1, 1), ("left ventricle", 2, 1)]
    path = slicer.segmentation(tmp_path / "old.seg.nrrd", binary, affine, old, is_old=True)
    assert np.array_equal(read(path, volume), in_volume(volume, array))
    with pytest.raises(DataError, match="7 voxels in both 'rv' and 'left ventricle'"):
        binary[1][array == 2] = np.arange((array == 2).sum()) < 7
        read(slicer.segmentation(tmp_path / "two.seg.nrrd", binary, affine, old), volume)


@pytest.mark.parametrize("kind", ["usual", "oblique", "sagittal", "rows_swapped"])
def test_cropped_and_larger_extents(tmp_path, kind):
    """Without "not annotated" what is in no segment is not annotated; with it, it is background."""
    volume, array = scan(tmp_path, kind), painted()
    affine = painting_grid(volume)[0]
    moved = affine @ np.array([[1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 1, 1], [0, 0, 0, 1.0]])
    part = array[2:12, 3:, 1:4] % IGNORE
    segments = [("rv", 0, 1), ("left ventricle", 0, 2)]
    path = slicer.segmentation(tmp_path / "a.seg.nrrd", part[np.newaxis], moved, segments, offset=(2, 3, 1))
    expected = np.where(array % IGNORE, array, IGNORE)
    assert np.array_equal(read(path, volume), in_volume(volume, expected))
    larger = np.pad(array % IGNORE, ((1, 2), (0, 1), (3, 0)))
    back = affine @ np.array([[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, -3], [0, 0, 0, 1.0]])
    path = slicer.segmentation(
        tmp_path / "b.seg.nrrd", larger[np.newaxis], back, [*segments, ("not annotated", 0, 3)], offset=(-1, 0, -3)
    )
    assert np.array_equal(read(path, volume), in_volume(volume, array % IGNORE))
    empty = slicer.segmentation(tmp_path / "c.seg.nrrd", np.zeros((1, 1, 1, 1), np.uint8), np.eye(4), segments)
    assert (read(empty, volume) == IGNORE).all()


def test_a_segment_without_a_known_name(tmp_path):
    volume = scan(tmp_path)
    segments = [("rv", 0, 1), ("Segment_2", 0, 2)]
    path = slicer.segmentation(tmp_path / "a.seg.nrrd", painted()[np.newaxis], painting_grid(volume)[0], segments)
    with pytest.raises(DataError, match=r"called rv, left ventricle, background.*\n.*'Segment_2' \(10 voxels\)"):
        read(path, volume)


def test_turned_files_come_back(tmp_path):
    """Programs that know R, A, S only turn the array with its header."""
    volume, array = scan(tmp_path, "rows_swapped"), painted()
    turned = nib.as_closest_canonical(nib.Nifti1Image(array, painting_grid(volume)[0]))
    nib.save(turned, tmp_path / "a_annotation.nii.gz")
    assert turned.shape != array.shape
    assert np.array_equal(read(tmp_path / "a_annotation.nii.gz", volume), in_volume(volume, array))


def test_headers_that_say_nothing_are_repaired(tmp_path, caplog):
    volume, array = scan(tmp_path, "oblique"), painted()
    affine = painting_grid(volume)[0]
    dropped = nib.Nifti1Image(array, affine)
    dropped.header["qform_code"] = dropped.header["sform_code"] = 0
    (tmp_path / "a.nii").write_bytes(dropped.header.binaryblock + bytes(4) + array.tobytes(order="F"))
    unscaled = affine.copy()
    unscaled[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    nib.save(nib.Nifti1Image(array, unscaled), tmp_path / "b.nii.gz")
    slicer.label_map(tmp_path / "c.mha", array, None)
    for name in ("a.nii", "b.nii.gz", "c.mha"):
        caplog.clear()
        assert np.array_equal(read(tmp_path / name, volume), in_volume(volume, array))
        assert f"{name} is taken voxel by voxel" in caplog.text


def test_another_place_is_asked_about(tmp_path):
    volume, array = scan(tmp_path), painted()
    elsewhere = painting_grid(volume)[0] + np.eye(4, k=3) * 4.1
    path = slicer.label_map(tmp_path / "a.nrrd", array, elsewhere)
    with pytest.raises(DataError, match="4.1 mm off") as error:
        read(path, volume)
    assert "the annotation of another scan?" in error.value.remedy
    assert np.array_equal(read(path, volume, takes_voxels=True), in_volume(volume, array))
    with pytest.raises(DataError, match=r"shape \(14, 17, 5\)"):
        read(slicer.label_map(tmp_path / "b.nrrd", array[1:], elsewhere), volume, takes_voxels=True)


def test_begun_anew_and_numbered_anew(tmp_path):
    volume, array = scan(tmp_path), painted()
    affine = painting_grid(volume)[0]
    found = read(slicer.label_map(tmp_path / "a.nrrd", array % IGNORE, affine), volume)
    expected = in_volume(volume, np.where(np.arange(5) == 2, array, IGNORE))
    assert np.array_equal(found, expected), "a slice without structures is none that was annotated"
    renumbered = np.array([0, 2, 3, 1], np.uint8)[array]  # "not annotated" was the first segment
    with pytest.raises(DataError, match="3 whole slices of number 1, rv\n.*Save it as .seg.nrrd"):
        read(slicer.label_map(tmp_path / "b.nii.gz", renumbered, affine), volume)
    full = np.where(np.arange(5) == 4, 1, array).astype(np.uint8)
    found = read(slicer.label_map(tmp_path / "d.nii.gz", full, affine), volume)
    assert np.array_equal(found, in_volume(volume, full)), "a structure may fill a slice, if others are not annotated"
    with pytest.raises(DataError, match=r"1 rv, 2 left ventricle, 3 not annotated\n.*found: +9 \(20 voxels\)"):
        array[array == 1] = 9
        read(slicer.label_map(tmp_path / "c.mha", array, affine), volume)


@pytest.mark.parametrize("ending", [".seg.nrrd", ".mha"])
def test_damage(tmp_path, ending):
    volume = scan(tmp_path)
    path = slicer.label_map(tmp_path / f"a{ending}", image(shape=SHAPE, dtype=np.uint8) % 4, np.eye(4))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="expected: a complete gzip stream"):
        read(path, volume)
    path.write_bytes(gzip.compress(b"nothing"))
    with pytest.raises(DataError, match="expected: an intact file"):
        read(path, volume)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / f"b{ending}", volume)


def test_find_painted(tmp_path):
    assert find_painted(tmp_path / "none", "a") is None and find_painted(tmp_path, "a") is None
    (tmp_path / "ab_annotation.nii.gz").touch()
    (tmp_path / "a_annotation.seg.nrrd").touch()
    assert find_painted(tmp_path, "a").name == "a_annotation.seg.nrrd"
    shutil.copy(tmp_path / "a_annotation.seg.nrrd", tmp_path / "a_annotation.nii")
    with pytest.raises(DataError, match="a_annotation.nii and a_annotation.seg.nrrd"):
        find_painted(tmp_path, "a")


def test_masks_are_completed_where_they_were_begun():
    labels = np.full((2, 2, 3), 3, np.uint8)
    labels[0, 0, 1], labels[1, 1, 2] = 2, 0
    assert completed(labels, 3)[..., 0].tolist() == [[3, 3], [3, 3]]
    assert completed(labels, 3)[..., 1].tolist() == [[2, 0], [0, 0]] and not completed(labels, 3)[..., 2].any()
    asked = np.zeros(labels.shape, bool)
    asked[..., 2] = True
    assert np.array_equal(completed(labels, 3, asked)[..., :2], labels[..., :2])
