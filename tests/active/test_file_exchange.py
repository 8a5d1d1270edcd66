"""Annotations that a person brings back as files. Expected values: the masks painted in the test."""

from __future__ import annotations

import csv
import dataclasses
import os
import shutil

import numpy as np
import pytest

from fewslice.active.annotators import ANNOTATIONS, ANNOTATORS, Task, WaitingForAnnotations
from fewslice.active.pool import open_pool
from fewslice.core.errors import DataError, FewSliceError
from fewslice.data.cache import open_cache
from fewslice.data.io.geometry import turned
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.data.readers import get_reader
from fewslice.data.volume import label_to_grid
from tests.data import headers, slicer
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
    shown = [
        tuple(row[name] for name in ("volume", "slice", "slice_counted_from_1", "view", "slicer_mm")) for row in rows
    ]
    assert shown == [  # the first slice lies at 3 mm, the others 8 mm apart
        ("002_ED", "2", "3", "axial", "S 19 mm"),
        ("001_ED", "1", "2", "axial", "S 11 mm"),
        ("001_ED", "2", "3", "axial", "S 19 mm"),
    ]
    blank = read_nifti(folder / "001_ED_annotation.nii.gz", is_label=True)
    image = read_nifti(folder / "001_ED_image.nii.gz")
    as_stored = dataclasses.replace(task.dataset, orientation="as_stored")
    native = get_reader(as_stored).read(task.volumes[0].case, with_label=False)
    assert (blank.array == 3).all() and np.array_equal(image.array, native.image)
    assert np.allclose(blank.affine, native.affine) and blank.spacing_mm == pytest.approx(native.spacing_mm)
    assert "1 rv, 2 lv; 3 = not annotated" in (folder / "README.txt").read_text()


def test_names_and_colours_for_viewers(make, tmp_path):
    folder = hand_out(make("mask")[0], tmp_path)
    colours = (folder / "colours_3d_slicer.ctbl").read_text().splitlines()[1:]
    assert (
        colours[:2] == ["0 background 0 0 0 0", "1 rv 53 195 214 255"]
        and colours[3] == "3 not_annotated 128 128 128 51"
    )
    labels = [line for line in (folder / "labels_itk_snap.txt").read_text().splitlines() if line[0] != "#"]
    assert labels[1].split() == ["1", "53", "195", "214", "1", "1", "1", '"rv"'] and labels[3].endswith(
        '"not annotated"'
    )
    itk = pytest.importorskip("SimpleITK")
    image = itk.ReadImage(str(folder / "3d_slicer" / "001_ED_annotation.seg.nrrd"))
    known = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    named = [(known[f"Segment{place}_Name"], known[f"Segment{place}_LabelValue"]) for place in range(4)]
    assert named == [("rv", "1"), ("lv", "2"), ("background", "4"), ("not annotated", "3")]
    assert (itk.GetArrayFromImage(image) == 3).all()


def test_painted_in_3d_slicer(make, tmp_path):
    """The handed-out segmentation with paint in it, saved as 3D Slicer does; one beside it is a question."""
    itk = pytest.importorskip("SimpleITK")
    annotator, task = make("mask")
    folder = hand_out(annotator, tmp_path)
    expected = {}
    for name, places in (("001_ED", (1, 2)), ("002_ED", (2,))):
        path = folder / "3d_slicer" / f"{name}_annotation.seg.nrrd"
        image = itk.ReadImage(str(path))
        array = itk.GetArrayFromImage(image).T.astype(np.uint8)
        for place in places:
            array[4:9, 5:12, place] = 2
        array[0, 0, 2] = 4
        affine = read_nifti(folder / f"{name}_annotation.nii.gz", is_label=True).affine
        segments = [("rv", 0, 1), ("lv", 0, 2), ("background", 0, 4), ("not annotated", 0, 3)]
        slicer.segmentation(tmp_path / "annotated" / path.name, array[np.newaxis], affine, segments)
        expected[name] = np.where(array == 2, 2, 0).astype(np.uint8)
    masks = np.concatenate(annotator.annotate(tmp_path, UNITS))
    grids = [
        label_to_grid(turned(drawn, volume.axes), volume.spacing_mm, task.dataset, outside=3)
        for drawn, volume in zip(expected.values(), task.volumes, strict=True)
    ]
    assert np.array_equal(masks, [grids[1][2], grids[0][1], grids[0][2]])
    twin = tmp_path / "annotated" / "001_ED_annotation.nii.gz"
    shutil.copy(folder / twin.name, twin)
    with pytest.raises(DataError, match="001_ED_annotation.nii.gz and 001_ED_annotation.seg.nrrd"):
        annotator.annotate(tmp_path, UNITS)


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


def test_saved_where_it_was_handed_out(make, tmp_path):
    folder = hand_out(make("mask")[0], tmp_path)
    path, later = folder / "3d_slicer" / "001_ED_annotation.seg.nrrd", (folder / "slices.csv").stat().st_mtime + 9
    os.utime(path, (later, later))
    with pytest.raises(WaitingForAnnotations, match="Saved in to_annotate: 3d_slicer/001_ED_.*move it to annotated"):
        make("mask")[0].annotate(tmp_path, UNITS)


def test_masks_are_background_where_nothing_is_painted(make, tmp_path):
    annotator, _ = make("mask")
    folder = hand_out(annotator, tmp_path)
    assert (read_nifti(folder / "001_ED_annotation.nii.gz", is_label=True).array == 3).all()
    paint(tmp_path, "001_ED_annotation.nii.gz", scribble(1, 2))
    paint(tmp_path, "002_ED_annotation.nii.gz", _stroke(2))  # a slice without structures
    masks = np.concatenate(annotator.annotate(tmp_path, UNITS))
    assert masks.shape == (3, 32, 32) and set(np.unique(masks)) <= {0, 1, 3}
    assert (masks == 1).any(axis=(1, 2)).tolist() == [False, True, True] and (masks[0, 8:24, 8:24] == 0).all()


def _stroke(place):
    def change(array):
        array[3, 4:9, place] = 0

    return change


def _code(array):
    array[5, 5, 1] = 9


def _full(array):
    array[..., 1] = 0
    scribble(2)(array)


NOTHING, BESIDE = "nothing in slice 2 \\(S 11 mm\\), counted", "one slice beside: in slice 3 .S 19 mm., 4 .S 27"
WRONG = {  # what is painted in slices 1 and 2 of the first volume, message, what confirms it, (background, rv) then
    "untouched": ("mask", lambda array: None, "nothing in slice 2 .*, 3 ", "empty", 0),
    "one_forgotten": ("mask", scribble(2), NOTHING, "empty", 1),
    "shifted": ("mask", scribble(2, 3), BESIDE, "shifted", 2),
    "shifted_back": ("scribble", scribble(0, 1), "in slice 1 .S 3 mm., 2 ", "shifted", 2),
    "no_stroke": ("scribble", scribble(2), NOTHING, "", 0),
    "filled": ("scribble", _full, "a class in every pixel of slice 2 ", "full", 1),
    "code": ("scribble", _code, "3 not annotated\n.*found: +9 .1 voxels", "", 0),
    "shape": ("mask", lambda array: array.transpose(1, 0, 2), "the grid of 001_ED: shape", "header", None),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_told_and_can_be_confirmed(make, tmp_path, name):
    kind, change, text, answer, shown = WRONG[name]
    annotator, task = make(kind)
    hand_out(annotator, tmp_path)
    paint(tmp_path, "001_ED_annotation.nii.gz", change)
    paint(tmp_path, "002_ED_annotation.nii.gz", scribble(2))
    with pytest.raises(FewSliceError, match=text) as error:
        annotator.annotate(tmp_path, UNITS)
    assert "001_ED_annotation.nii.gz" in str(error.value) and "002_ED" not in str(error.value)
    assert (f"--accept={answer}" in str(error.value)) if answer else ("--accept" not in str(error.value))
    if shown is not None and answer:
        masks = ANNOTATORS.get("files")(dataclasses.replace(task, accept=(answer,))).annotate(tmp_path, UNITS)
        assert sum((mask == 1).any() for mask in masks[1:]) == shown and all((mask == 0).any() for mask in masks)


def test_a_file_that_has_not_changed_is_not_asked_about_again(make, tmp_path, caplog):
    caplog.set_level("INFO")
    annotator, task = make("mask")
    hand_out(annotator, tmp_path)
    paint(tmp_path, "001_ED_annotation.nii.gz", scribble(1))  # and slice 2 is forgotten
    paint(tmp_path, "002_ED_annotation.nii.gz", scribble(2))
    ANNOTATORS.get("files")(dataclasses.replace(task, accept=("empty",))).annotate(tmp_path, UNITS)
    paint(tmp_path, "002_ED_annotation.nii.gz", lambda array: array[..., 2].fill(1))
    masks = annotator.annotate(tmp_path, UNITS)
    assert (masks[0] == 1).all() and set(np.unique(masks[2])) == {0, 3}
    told = [text for text in caplog.messages if "is unchanged since it was taken with --accept=empty" in text]
    assert len(told) == 1 and "001_ED_annotation.nii.gz" in told[0]
    paint(tmp_path, "001_ED_annotation.nii.gz", scribble(2))  # now slice 1 is
    with pytest.raises(FewSliceError, match="001_ED_annotation.nii.gz") as error:
        annotator.annotate(tmp_path, UNITS)
    assert "--accept=empty" in str(error.value)


def test_a_round_without_any_structure_is_a_question(make, tmp_path):
    annotator, task = make("mask")
    hand_out(annotator, tmp_path)
    for name, places in (("001_ED", (1, 2)), ("002_ED", (2,))):
        paint(
            tmp_path,
            f"{name}_annotation.nii.gz",
            lambda array, places=places: [_stroke(at)(array) for at in places] and None,
        )
    with pytest.raises(FewSliceError, match="No structure is painted in any of the 3 units.*--accept=empty"):
        annotator.annotate(tmp_path, UNITS)
    masks = ANNOTATORS.get("files")(dataclasses.replace(task, accept=("empty",))).annotate(tmp_path, UNITS)
    assert not np.isin(masks, (1, 2)).any()


def test_prefilled_slices_that_nobody_touched_are_told(make, tmp_path, caplog):
    _, task = make("mask")

    def predict(volume):
        labels = np.zeros(volume.native_shape, np.uint8)
        labels[5:9, 5:9] = 2
        return labels

    annotator = ANNOTATORS.get("files")(dataclasses.replace(task, prefill=predict))
    folder = hand_out(annotator, tmp_path)
    blank = read_nifti(folder / "001_ED_annotation.nii.gz", is_label=True).array
    assert [set(np.unique(blank[..., place])) for place in range(4)] == [{3}, {0, 2}, {0, 2}, {3}]
    assert "begin with a network's prediction" in (folder / "README.txt").read_text()
    paint(tmp_path, "001_ED_annotation.nii.gz", lambda array: array.__setitem__((0, 0, 2), 1))
    shutil.copy(folder / "002_ED_annotation.nii.gz", tmp_path / "annotated")
    masks = ANNOTATORS.get("files")(task).annotate(tmp_path, UNITS)
    assert all((mask == 2).any() for mask in masks)
    told = [record.getMessage() for record in caplog.records if "as pre-filled" in record.getMessage()]
    assert ["001_ED_slice_01" in told[0], "slice_02" in told[0], "002_ED_slice_02" in told[1]] == [True, False, True]


def test_another_place_and_damage_are_told_together(make, tmp_path):
    annotator, task = make("scribble")
    hand_out(annotator, tmp_path)
    name = "001_ED_annotation.nii.gz"
    array = paint(tmp_path, name, scribble(1, 2))
    handed = read_nifti(tmp_path / "to_annotate" / name, is_label=True)
    elsewhere = handed.affine + 5 * np.eye(4, k=3)
    write_nifti(tmp_path / "annotated" / name, array, affine=elsewhere, spacing_mm=handed.spacing_mm)
    other = tmp_path / "annotated" / "002_ED_annotation.nii.gz"
    other.write_bytes((tmp_path / "to_annotate" / other.name).read_bytes()[:-20])
    with pytest.raises(FewSliceError, match="2 annotations cannot be used") as error:
        annotator.annotate(tmp_path, UNITS)
    assert "the grid of 001_ED" in str(error.value) and other.name in str(error.value)
    assert "a corner 5 mm off" in str(error.value) and "--accept=header" in str(error.value)
    shutil.copy(tmp_path / "annotated" / name, tmp_path / "kept.nii.gz")
    paint(tmp_path, other.name, scribble(2))
    assert len(ANNOTATORS.get("files")(dataclasses.replace(task, accept=("header",))).annotate(tmp_path, UNITS)) == 3


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
    assert (array == 4).all()
    in_body = blank.TransformIndexToPhysicalPoint((0, 0, place)) * np.array([-1, -1, 1])  # R, A, S
    letter, mm, _ = row["slicer_mm"].split()
    normal = np.reshape(blank.GetDirection(), (3, 3))[:, 2] * [-1, -1, 1]
    assert float(mm) == pytest.approx(abs(normal @ in_body) * np.sign(float(mm)), abs=0.01)
    assert row["view"] == {"S": "axial", "A": "coronal", "R": "sagittal"}[letter]
    array[place] = mask[..., place].T
    drawn = itk.GetImageFromArray(array)
    drawn.CopyInformation(blank)
    itk.WriteImage(drawn, str(tmp_path / "annotated" / "a_annotation.nii.gz"))
    (found,) = annotator.annotate(tmp_path, np.array([1]))
    assert np.array_equal(found[0], volumes[0].label[1])


@pytest.mark.parametrize("largest", [255, 256])
def test_a_person_sees_colours(tmp_path, largest):
    colours = image(shape=(31, 33, 4, 3)).astype(np.float32)
    colours[0, 0, 0] = (0, 7, largest)  # 256: no bytes, so no colours
    write_nifti(tmp_path / "scans" / "a" / "img.nii.gz", colours, affine=np.eye(4), spacing_mm=(1, 1, 1))
    settings = dataset("case_folders", grid="native", num_channels=3, data_root=tmp_path)
    volumes = open_cache(settings, get_reader(settings).cases(), with_label=False, progress=False)
    task = Task(open_pool(volumes), volumes, settings, ANNOTATIONS.get("mask"))
    with pytest.raises(WaitingForAnnotations):
        ANNOTATORS.get("files")(task).annotate(tmp_path, np.array([1]))
    shown = read_nifti(tmp_path / "to_annotate" / "a_image.nii.gz", num_channels=3)
    assert np.allclose(shown.array, colours if largest == 255 else colours.mean(axis=3))
