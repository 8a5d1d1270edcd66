"""`scripts/add_annotations.py`: from scans without labels to partial labels and lists. Expected values: by hand."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from fewslice.data.readers import get_reader
from fewslice.settings import datasets
from tests.scripts import running
from tests.scripts.test_add_dataset import volume, write

K = 3  # classes; also "not annotated"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Seven patients without labels, added as the dataset `mine`."""
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tmp_path / "experiments"))
    for index in range(7):
        write(tmp_path / "images" / f"p{index}.nii.gz", volume(index, shape=(40, 50, 6))[0])
    flags = (f"--images={tmp_path / 'images'}", "--images_only", "--struct_names=liver,cyst")
    assert running.run("add_dataset", "--name=mine", *flags).returncode == 0
    return tmp_path


def paint(folder, *names, slices=(2,), structure=1, ending="_annotation"):
    """Files of which some slices show a square of a structure and the rest is not annotated."""
    for name in names:
        label = np.full((40, 50, 6), K, np.uint8)
        label[10:20, 10:20, list(slices)] = structure
        write(folder / f"{name}{ending}.nii.gz", label)
    return folder


def add(folder, *arguments, status=0):
    result = running.run("add_annotations", "--dataset=mine", f"--from={folder}", *arguments)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def labels(name):
    reader = get_reader(datasets.load_dataset_config("mine"))
    return reader.read(next(case for case in reader.cases() if case.case_id == name)).label


def splits():
    return datasets.load_dataset_config("mine").splits


def test_painted_slices_become_labels_that_say_nothing_elsewhere(place):
    text = add(paint(place / "first", "p0", "p1"))
    assert "p0 (patient p0): slices 3 of 6" in text and "2 patients to train, 0 to validate, 0 to test" in text
    assert "--no_of_tr_imgs=trall" in text and "folds --comb_tr_imgs=c1" in text and "and so on to c2" in text
    found = labels("p0")
    assert (found[..., [0, 1, 3, 4, 5]] == K).all() and np.bincount(found[..., 2].ravel()).tolist() == [1900, 100]
    stored = nib.load(place / "images_labels" / "p0.nii.gz")
    assert sorted(np.unique(np.asarray(stored.dataobj))) == [0, 1, 255]
    np.testing.assert_array_equal(stored.affine, nib.load(place / "images" / "p0.nii.gz").affine)
    assert splits().val_ids("trall", "c1") == () and splits().val_ids("folds", "c2") == ("p1",)


def test_of_files_that_were_handed_out_the_listed_slices_count(place):
    """Asked are slices 2 and 4 of p0, which has the first one, and one of p1, which is not back."""
    folder = place / "runs" / "selection"
    paint(folder / "annotated", "p0")
    (folder / "to_annotate").mkdir()
    rows = [f"p0,mask,p0_slice_{number}" for number in ("02", "04")] + ["p1,mask,p1_slice_00"]
    (folder / "to_annotate" / "slices.csv").write_text("\n".join(["volume,annotation,unit_id", *rows]))
    assert "nothing in slice 5" in add(place / "runs", status=1)
    text = add(folder / "annotated", "--accept=empty")
    assert "p0 (patient p0): slices 3, 5 of 6" in text and "not back yet, and left out: p1" in text
    assert "slice 5 (S 32 mm), counted from 1, is taken as empty" in text
    assert not labels("p0")[..., 4].any() and (labels("p0")[..., 3] == K).all()
    (folder / "to_annotate" / "slices.csv").write_text("volume;unit_id\np0;p0_slice_02")
    assert "columns volume and unit_id between commas" in add(folder, status=1)


def test_rounds_of_an_experiment_add_up_without_those_that_were_done_again(place):
    for number, slices in (("rounds/000", (1,)), ("rounds/001", (3,)), ("replaced/1/001", (5,))):
        folder = place / "run" / number
        paint(folder / "annotated", "p0", slices=slices)
        (folder / "to_annotate").mkdir()
        (folder / "to_annotate" / "slices.csv").write_text(f"volume,unit_id\np0,p0_slice_{slices[0]:02d}")
    assert "slices 6" not in add(place / "run")
    assert np.flatnonzero((labels("p0") != K).any(axis=(0, 1))).tolist() == [1, 3]
    text = add(paint(place / "run" / "rounds" / "000" / "annotated", "p0", slices=(2,)).parent, "--accept=shifted")
    assert "paint in slice 3 (S " in text and "is taken for slice 2 (S " in text


def test_labels_add_up_and_nobody_moves(place):
    add(paint(place / "first", "p0", "p1"))
    lists = place / "experiments" / "data_cfg_mine.py"
    lists.write_text(lists.read_text() + "# mine\n")
    text = add(paint(place / "second", "p0", "p2", "p3", "p4", "p5", slices=(2, 4), structure=2))
    assert "p0: 2 slices are labels now; 100 voxels had another class before" in text
    assert set(np.unique(labels("p0")[..., 2])) == {0, 2} and "# mine" in lists.read_text()
    train, val = splits().train_ids("trall", "c1"), splits().val_ids("trall", "c1")
    assert {"p0", "p1"} < set(train) and len(train) == 5 and len(val) == 1 and not splits().test
    assert set(splits().train_ids("al", "c1")) == {f"p{index}" for index in range(7)} - set(val)
    before = lists.read_text()
    assert "had another class" not in add(place / "second") and lists.read_text() == before
    assert "Would write" in add(place / "second", "--redraw", "--test=1", "--dry_run")
    text = add(place / "second", "--redraw", "--test=1")
    assert len(splits().test) == 1 and "leave the list for pretraining" in text
    assert lists.with_suffix(".before.txt").read_text() == before


def test_datasets_from_before_there_was_an_ignore_label(place):
    init = place / "experiments" / "init_mine.py"
    init.write_text(init.read_text().replace("ignore_label = 255\n", ""))
    add(paint(place / "first", "p0"))
    assert datasets.load_dataset_config("mine").ignore_label == 255 and (labels("p0")[..., 0] == K).all()


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda place: place / "nowhere", r"found: +no such folder"),
        (lambda place: paint(place / "other", "x1"), r"such as p0_annotation.nii.gz .*found: +x1_annotation.nii.gz"),
        (lambda place: paint(place / "blank", "p0", slices=()), "1 volumes nothing is painted"),
        (lambda place: paint(place / "empty", "p0", structure=0), "1 volumes 1 slices are empty"),
        (lambda place: paint(place / "wrong", "p0", structure=9), r"1 painted files cannot be used.*9 \(100 voxels"),
    ],
)
def test_what_cannot_be_used_changes_nothing(place, prepare, text):
    import re

    found = add(prepare(place), status=1)
    assert re.search(text, found, re.DOTALL), found
    assert not (place / "images_labels").exists() and splits().labelled_keys() == []


def test_full_labels_are_not_overwritten(place):
    for index in range(7):
        write(place / "labels" / f"p{index}.nii.gz", volume(index, shape=(40, 50, 6))[1])
    flags = (f"--images={place / 'images'}", f"--labels={place / 'labels'}", "--force")
    assert running.run("add_dataset", "--name=mine", *flags).returncode == 0
    assert "a full label" in add(paint(place / "first", "p0"), status=1)


def sparse(place):
    """Masks of 0 and 1 of which one slice is painted."""
    for index in range(7):
        label = np.zeros((40, 50, 6), np.uint8)
        label[10:20, 10:20, index % 4 + 1] = 1
        write(place / "masks" / f"p{index}.nii.gz", label)
    return (f"--images={place / 'images'}", f"--labels={place / 'masks'}", "--name=sparse")


def test_masks_painted_in_few_slices_are_asked_about(place):
    result = running.run("add_dataset", *sparse(place))
    text = result.stdout + result.stderr
    assert result.returncode == 1 and "  p1: 3 of 6" in text and "--sparse_labels=partial" in text
    assert running.run("add_dataset", *sparse(place), "--sparse_labels=full").returncode == 0
    assert datasets.load_dataset_config("sparse").ignore_label is None


def test_masks_painted_in_few_slices_become_partial_labels(place):
    flags, kept = sparse(place), (place / "masks" / "p1.nii.gz").read_bytes()
    result = running.run("add_dataset", *flags, "--sparse_labels=partial")
    assert result.returncode == 0, result.stderr
    assert (place / "masks" / "p1.nii.gz").read_bytes() == kept
    assert "7 volumes of 7 partially labelled and 0 other patients" in result.stdout
    assert "6 patients to train, 1 to validate" in result.stdout and "p1: 1 slice is a label now" in result.stdout
    dataset = datasets.load_dataset_config("sparse")
    reader = get_reader(dataset)
    found = reader.read(reader.cases()[1]).label
    assert dataset.num_classes == 2 and (found[..., [0, 1, 3, 4, 5]] == 2).all() and found[..., 2].sum() == 100


def test_labels_with_a_code_for_what_is_not_annotated(place):
    for index in range(7):
        label = np.full((40, 50, 6), 255, np.uint8)
        label[..., 1] = volume(index, shape=(40, 50, 6))[1][..., 1]
        write(place / "masks" / f"p{index}.nii.gz", label)
    flags = (f"--images={place / 'images'}", f"--labels={place / 'masks'}", "--name=coded", "--ignore_label=255")
    result = running.run("add_dataset", *flags)
    assert result.returncode == 0, result.stderr
    dataset = datasets.load_dataset_config("coded")
    assert dataset.ignore_label == 255 and dataset.num_classes == 3
