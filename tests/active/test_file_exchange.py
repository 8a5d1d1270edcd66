"""Annotations that a person brings back as files. Expected values: the masks painted in the test."""

from __future__ import annotations

import csv
import dataclasses
import shutil

import numpy as np
import pytest

from fewslice.active.annotators import ANNOTATIONS, ANNOTATORS, Task, WaitingForAnnotations
from fewslice.active.pool import open_pool
from fewslice.core.errors import FewSliceError
from fewslice.data.cache import open_cache
from fewslice.data.io.geometry import turned
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.data.readers import get_reader
from fewslice.data.volume import label_to_grid
from tests.data import headers
from tests.data.layouts import dataset, image, label


@pytest.fixture
def make(make_task):
    """A function kind -> (annotator, task) for the slices of two volumes."""

    def build(kind):
        task = make_task(kind)
        return ANNOTATORS.get("files")(task), task

    return build


UNITS = np.array([6, 1, 2])  # slice 2 of the second volume, slices 1 and 2 of the first


def hand_out(annotator, folder):
    with pytest.raises(WaitingForAnnotations, match="3 units of 2 volumes.*001_ED, 002_ED"):
        annotator.annotate(folder, UNITS)
    return folder / "to_annotate"


def paint(folder, name, change):
    """Saves the handed-out mask of a volume in `annotated/` after `change` worked on its array."""
    image = read_nifti(folder / "to_annotate" / name, is_label=True)
    array = np.array(image.array, np.uint8)
    changed = change(array)
    array = array if changed is None else changed
    write_nifti(folder / "annotated" / name, array, like=None, affine=image.affine, spacing_mm=image.spacing_mm)
    return array


def scribble(*slices):
    def change(array):
        for place in slices:
            array[10:12, 5:9, place], array[2, 2:20, place] = 1, 0

    return change


def test_what_is_handed_out(make, tmp_path):
    annotator, task = make("scribble")
    folder = hand_out(annotator, tmp_path)
    with open(folder / "slices.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["order"] for row in rows] == ["1", "2", "3"]  # as in query.csv
    assert [(row["volume"], row["slice"], row["slice_counted_from_1"]) for row in rows] == [
        ("002_ED", "2", "3"),
        ("001_ED", "1", "2"),
        ("001_ED", "2", "3"),
    ]
    blank = read_nifti(folder / "001_ED_annotation.nii.gz", is_label=True)
    image = read_nifti(folder / "001_ED_image.nii.gz")
    as_stored = dataclasses.replace(task.dataset, orientation="as_stored")
    native = get_reader(as_stored).read(task.volumes[0].case, with_label=False)
    assert (blank.array == 3).all() and np.array_equal(image.array, native.image)
    assert np.allclose(blank.affine, native.affine) and blank.spacing_mm == pytest.approx(native.spacing_mm)
    assert "1 rv, 2 lv; 3 = not annotated" in (folder / "README.txt").read_text()


def test_scribbles_come_back_on_the_networks_grid(make, tmp_path):
    annotator, task = make("scribble")
    hand_out(annotator, tmp_path)
    first = paint(tmp_path, "001_ED_annotation.nii.gz", scribble(0, 1, 2))  # slice 0 was not asked for
    shutil.copy(tmp_path / "to_annotate" / "002_ED_annotation.nii.gz", tmp_path / "annotated" / "002_ED.nii.gz")
    with pytest.raises(WaitingForAnnotations, match=r"Not back yet: 002_ED\..* do not count: 002_ED.nii.gz\."):
        annotator.annotate(tmp_path, UNITS)
    second = paint(tmp_path, "002_ED_annotation.nii.gz", scribble(2))
    masks = np.concatenate(annotator.annotate(tmp_path, UNITS))
    grids = [
        label_to_grid(turned(drawn, volume.axes), volume.spacing_mm, task.dataset, outside=3)
        for drawn, volume in zip((first, second), task.volumes, strict=True)
    ]
    assert np.array_equal(masks, [grids[1][2], grids[0][1], grids[0][2]])
    assert set(np.unique(masks)) == {0, 1, 3}


def test_masks_are_background_where_nothing_is_painted(make, tmp_path):
    annotator, _ = make("mask")
    folder = hand_out(annotator, tmp_path)
    blank = read_nifti(folder / "001_ED_annotation.nii.gz", is_label=True).array
    assert [set(np.unique(blank[..., place])) for place in range(4)] == [{3}, {0}, {0}, {3}]
    paint(tmp_path, "001_ED_annotation.nii.gz", scribble(1, 2))
    paint(tmp_path, "002_ED_annotation.nii.gz", scribble(2))
    masks = np.concatenate(annotator.annotate(tmp_path, UNITS))
    assert masks.shape == (3, 32, 32) and set(np.unique(masks)) <= {0, 1, 3} and (masks == 1).any(axis=(1, 2)).all()


def _hole(array):
    array[5, 5, 1] = 3


def _code(array):
    array[5, 5, 1] = 9


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        ("scribble", lambda array: None, "nothing in slice 1 "),
        ("scribble", scribble(2), "nothing in slice 1 "),
        ("scribble", _code, "expected: values 0 to 3.*\n.*found:    9"),
        ("mask", _hole, "not annotated in slice 1 "),
        ("mask", lambda array: array[:-1], "expected: shape"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(make, tmp_path, kind, change, text):
    annotator, _ = make(kind)
    hand_out(annotator, tmp_path)
    paint(tmp_path, "001_ED_annotation.nii.gz", change)
    paint(tmp_path, "002_ED_annotation.nii.gz", scribble(2))
    with pytest.raises(FewSliceError, match=text) as error:
        annotator.annotate(tmp_path, UNITS)
    assert "001_ED_annotation.nii.gz" in str(error.value) and "002_ED" not in str(error.value)


def test_another_grid_and_damage_are_told_together(make, tmp_path):
    annotator, _ = make("scribble")
    hand_out(annotator, tmp_path)
    name = "001_ED_annotation.nii.gz"
    array = paint(tmp_path, name, scribble(1, 2))
    write_nifti(tmp_path / "annotated" / name, array, like=None, affine=np.eye(4), spacing_mm=(1.0, 1.0, 1.0))
    other = tmp_path / "annotated" / "002_ED_annotation.nii.gz"
    other.write_bytes((tmp_path / "to_annotate" / other.name).read_bytes()[:-20])
    with pytest.raises(FewSliceError, match="2 annotations cannot be used") as error:
        annotator.annotate(tmp_path, UNITS)
    assert "the grid of 001_ED" in str(error.value) and other.name in str(error.value)


@pytest.mark.parametrize("kind", headers.KINDS)
def test_a_slice_is_painted_in_an_itk_program_whatever_the_header(tmp_path, kind):
    itk = pytest.importorskip("SimpleITK")
    mask = label(shape=(31, 33, 4)).astype(np.uint8)
    for name, array in (("img", image(shape=mask.shape).astype(np.float32)), ("mask", mask)):
        headers.write(tmp_path / "scans" / "a" / f"{name}.nii.gz", array, kind)
    settings = dataset("case_folders", orientation="canonical", grid="native", data_root=tmp_path)
    volumes = open_cache(settings, get_reader(settings).cases(), with_label=True, progress=False)
    pool = open_pool(volumes)
    annotator = ANNOTATORS.get("files")(Task(pool, volumes, settings, ANNOTATIONS.get("mask")))
    with pytest.raises(WaitingForAnnotations):
        annotator.annotate(tmp_path, np.array([1]))
    with open(tmp_path / "to_annotate" / "slices.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    place = int(row["slice"])
    assert place == (2 if volumes[0].axes[2] < 0 else 1) and row["unit_id"] == pool.name(1) == f"a_slice_0{place}"
    blank = itk.ReadImage(str(tmp_path / "to_annotate" / "a_annotation.nii.gz"))
    array = itk.GetArrayFromImage(blank)  # z, y, x
    assert [set(np.unique(each)) for each in array] == [{0} if at == place else {4} for at in range(4)]
    array[place] = mask[..., place].T
    drawn = itk.GetImageFromArray(array)
    drawn.CopyInformation(blank)
    itk.WriteImage(drawn, str(tmp_path / "annotated" / "a_annotation.nii.gz"))
    (found,) = annotator.annotate(tmp_path, np.array([1]))
    assert np.array_equal(found[0], volumes[0].label[1])
