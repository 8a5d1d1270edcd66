"""`scripts/add_dataset.py` on small folders that the tests write; sizes and lists follow from them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.data.new_dataset.files import split_patients
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings import datasets
from tests.scripts import running


def write(path, array, spacing=(1.5, 1.25, 8.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.diag([*spacing, 1.0]))
    image.header.set_zooms(spacing)
    nib.save(image, path)


def volume(seed, values=(0, 1, 2), shape=(40, 50, 3)):
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    for index, value in enumerate(values):
        label[5 * index : 5 * index + 5] = value
    return image, label


@pytest.fixture
def folder(tmp_path):
    """Ten patients: nine labelled, p9 not; p0 with two frames; images called <stem>_0000."""
    for index in range(10):
        for stem in (f"p{index}_frame01", f"p{index}_frame07") if index == 0 else (f"p{index}_frame01",):
            image, label = volume(index)
            write(tmp_path / "images" / f"{stem}_0000.nii.gz", image)
            if index < 9:
                write(tmp_path / "labels" / f"{stem}.nii.gz", label)
    return tmp_path


def run(folder, *arguments, name="mine", status=0, labels=True):
    places = [f"--images={folder / 'images'}"] + ([f"--labels={folder / 'labels'}"] if labels else [])
    result = running.run("add_dataset", f"--name={name}", *places, f"--output_dir={folder / 'out'}", *arguments)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def written(folder, name="mine"):
    return datasets.load_dataset_config(name, folder=folder / "out")


def test_folder_becomes_a_dataset(folder):
    text = run(folder, "--struct_names=liver,cyst")
    dataset = written(folder)
    # 40 px of 1.5 mm and 50 px of 1.25 mm need 2 x 32 pixels at these spacings
    assert dataset.size == (64, 64) and dataset.target_resolution == (1.5, 1.25)
    assert dataset.struct_name == ("liver", "cyst") and dataset.num_classes == 3
    assert "11 volumes of 9 labelled and 1 other patient." in text and "p0_frame01 (patient p0)" in text
    assert "--dataset=mine" in text
    splits = dataset.splits
    everyone = {f"p{index}" for index in range(9)}
    training = set(splits.train_ids("trall", "c1"))
    assert training | set(splits.val_ids("trall", "c1")) | set(splits.test_ids()) == everyone
    assert [len(splits.test_ids()), len(splits.val_ids("tr1", "c1")), len(training)] == [2, 2, 5]
    assert set(splits.train_ids("unlabeled", "c1")) == training | {"p9"}
    assert datasets.check_pretraining_split(dataset, "unlabeled", "c1") == ()
    reader = get_reader(dataset)
    cases = find_cases(reader, ["p0", "p3"], dataset.phases)
    assert [case.case_id for case in cases] == ["p0_frame01", "p0_frame07", "p3_frame01"]
    assert sorted(np.unique(reader.read(cases[0]).label)) == [0, 1, 2]


def test_images_only(folder):
    """The list for pretraining is the only one; labels that lie elsewhere do not count; names give the classes."""
    text = run(folder, "--images_only", "--struct_names=liver,cyst", labels=False)
    dataset = written(folder)
    assert "11 volumes of 0 labelled and 10 other patients" in text and "select_slices.py --dataset=mine" in text
    assert list(dataset.splits.train) == ["unlabeled"] and not dataset.splits.test
    assert set(dataset.splits.train_ids("unlabeled", "c1")) == {f"p{index}" for index in range(10)}
    assert dataset.num_classes == 3 and dataset.size == (64, 64)
    assert all(case.label_path is None for case in get_reader(dataset).cases())
    assert "Leave it out, or --labels" in run(folder, "--images_only", name="other", status=1)


def test_images_only_of_patient_folders(tmp_path):
    for index in (1, 2):
        small(tmp_path, f"images/patient00{index}/patient00{index}_frame01.nii.gz")
    run(tmp_path, "--images_only", labels=False)
    assert written(tmp_path).layout == "acdc" and written(tmp_path).num_classes == 2


def test_same_seed_same_lists_and_paths_below_the_data_root_are_relative(folder):
    lists = []
    for seed in (3, 3, 4):
        run(folder, f"--seed={seed}", "--force", f"--data_root={folder.parent}")
        lists.append((folder / "out" / "data_cfg_mine.py").read_text())
    assert lists[0] == lists[1] != lists[2] and written(folder).data_path_tr == folder.name


def test_what_force_changes_in_an_edited_file_is_named_and_the_file_kept(folder):
    assert "Changes" not in run(folder) + run(folder, "--force")
    edited = folder / "out" / "init_mine.py"
    edited.write_text(edited.read_text().replace("mtask_bs = 20", "mtask_bs = 6"))
    before, text = edited.read_text(), run(folder, "--force")
    assert "init_mine.py (as it was: init_mine.before.txt):\n  - mtask_bs = 6\n  + mtask_bs = 20\n" in text
    assert edited.with_suffix(".before.txt").read_text() == before and written(folder).mtask_bs == 20


def test_existing_files_are_kept_and_a_dry_run_writes_nothing(folder):
    text = run(folder, "--dry_run")
    assert "img_size_x = 64" in text and not (folder / "out").exists()
    (folder / "out").mkdir()
    (folder / "out" / "init_mine.py").write_text("mine = 1")
    assert "exist already" in run(folder, status=1)
    assert (folder / "out" / "init_mine.py").read_text() == "mine = 1"


def test_all_broken_files_are_named_and_nothing_is_written(folder):
    path = folder / "images" / "p3_frame01_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    image, label = volume(5)
    write(folder / "labels" / "p5_frame01.nii.gz", label[:-1])
    write(folder / "images" / "p6_frame01_0000.nii.gz", np.full_like(image, np.nan))
    text = run(folder, status=1)
    assert "3 volumes with problems; nothing was written" in text
    assert all(name in text for name in ("p3_frame01_0000.nii.gz", "p5_frame01.nii.gz", "p6_frame01_0000.nii.gz"))
    assert not (folder / "out").exists()


def test_label_without_image(folder):
    (folder / "images" / "p4_frame01_0000.nii.gz").unlink()
    assert "labels without an image: p4_frame01.nii.gz" in run(folder, status=1)


def test_labels_with_gaps_need_a_decision(tmp_path):
    for index in range(4):
        image, label = volume(index, values=(0, 85, 170))
        write(tmp_path / "images" / f"p{index}.nii.gz", image)
        write(tmp_path / "labels" / f"p{index}.nii.gz", label)
    text = run(tmp_path, status=1)
    assert "values 0, 85, 170, with gaps" in text and "--label_map=85:1,170:2" in text
    run(tmp_path, "--label_map=85:1,170:2")
    assert written(tmp_path).label_map == ((85, 1), (170, 2)) and written(tmp_path).num_classes == 3


def test_raw_folder_takes_names_from_its_description(tmp_path):
    raw = tmp_path / "images"
    for index in range(3):
        image, label = volume(index, shape=(64, 64, 2))
        write(raw / "imagesTr" / f"case_{index}_0000.nii.gz", image, (1.0, 1.0, 5.0))
        write(raw / "labelsTr" / f"case_{index}.nii.gz", label, (1.0, 1.0, 5.0))
    info = {"labels": {"background": 0, "front": 1, "back": 2}, "file_ending": ".nii.gz", "numTraining": 3}
    (raw / "dataset.json").write_text(json.dumps(info))
    run(tmp_path, labels=False)
    dataset = written(tmp_path)
    assert dataset.struct_name == ("front", "back") and dataset.size == (64, 64)
    assert list(dataset.splits.train) == ["tr1", "trall", "al", "unlabeled"]


def test_patient_pattern_groups_files(folder):
    run(folder, r"--patient_pattern=p(\d).*")
    assert set(written(folder).splits.train_ids("unlabeled", "c1")) <= set("0123456789")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--struct_names=liver"], "`--struct_names` must have 2 names"),
        (["--num_classes=2"], "label values 0 to 1"),
        (["--test=8"], "9 labelled patients (p0, p1, p2, p3 and 5 more) cannot be split into 8 to test"),
        (["--patient_pattern=q.*"], "patient_pattern"),
        (["--patient_pattern=("], "patient_pattern"),
        (["--label_map=1"], "code:label pairs"),
        (["--name=My Data"], "`--name` must be small letters"),
    ],
)
def test_wrong_requests(folder, arguments, message):
    assert message in run(folder, *arguments, status=1)
    assert not (folder / "out").exists()


def small(folder, *names):
    for index, name in enumerate(names):
        write(folder / name, volume(index)[name.startswith("labels")])


IMAGES, LABELS = ("images/a.nii.gz", "images/b.nii.gz"), ("labels/a.nii.gz", "labels/b.nii.gz")
RAW = ("images/imagesTr/a.nii.gz", "images/labelsTr/a.nii.gz")

PAIR, RAW_FLAG = "--images=images --labels=labels", "--images=images"

# What is there, the flags, the path of the message, what was found, a part of the remedy.
FOLDERS = {
    "no_images_folder": ((), "--images=no", "no", "no such folder", "Correct --images=no"),
    "no_labels_folder": (IMAGES, "--images=images --labels=no", "no", "no such folder", "Correct --labels=no"),
    "empty_images": (("images/", *LABELS), PAIR, "images", "an empty folder", "images there"),
    "empty_labels": (("labels/", *IMAGES), PAIR, "labels", "an empty folder", "labels there"),
    "other_format": (("images/a.png/", *LABELS), PAIR, "images", "a.png/", "convert other formats first"),
    "no_match": (
        (*IMAGES, "labels/x.nii.gz"), PAIR, "labels",
        "not one: the images are a, b; the labels x", "Rename them",
    ),
    "file_of_images": (IMAGES, f"--images={IMAGES[0]} --labels=labels", IMAGES[0], "a file", RAW_FLAG),
    "file_of_labels": (
        (*IMAGES, *LABELS), f"--images=images --labels={LABELS[0]}", LABELS[0], "a file", "--labels=labels",
    ),
    "same_folder": (IMAGES, "--images=images --labels=images", "images", "the same folder", "two folders"),
    "raw_with_labels": (
        (*RAW, *LABELS), PAIR, "images", "a raw folder (imagesTr/ and labelsTr/)",
        "Leave out --labels, or give --images=",
    ),
    "acdc_with_labels": (
        ("images/patient001/", *LABELS), PAIR, "images", "a raw folder (patient folders)",
        "Leave out --labels.",
    ),
    "raw_empty_images": (("images/imagesTr/", RAW[1]), RAW_FLAG, "images/imagesTr", "an empty folder", "there"),
    "raw_empty_labels": (("images/labelsTr/", RAW[0]), RAW_FLAG, "images/labelsTr", "an empty folder", "there"),
    "raw_half": ((RAW[0],), RAW_FLAG, "images", "imagesTr/", "with --labels"),
    "acdc_empty": (("images/patient001/",), RAW_FLAG, "images", "no volume", "scans with --images"),
    "acdc_unlabelled": (
        ("images/patient001/patient001_frame01.nii.gz",), RAW_FLAG, "images", "1 images without a label",
        "Put the labels beside them",
    ),
    "neither": (IMAGES, RAW_FLAG, "images", "a.nii.gz, b.nii.gz", "say --images_only if there are none"),
    "only_empty": (("images/",), f"{RAW_FLAG} --images_only", "images", "an empty folder", "images there"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_that_cannot_be_used(tmp_path, monkeypatch, name):
    """One message of four lines, status 1, nothing written."""
    there, flags, path, found, remedy = FOLDERS[name]
    for entry in there:
        (tmp_path / entry).mkdir(parents=True) if entry.endswith("/") else small(tmp_path, entry)
    monkeypatch.chdir(tmp_path)
    done = running.run("add_dataset", "--name=mine", "--output_dir=out", *flags.split())
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    lines = done.stderr.split("ERROR: ")[1].strip().splitlines()
    assert lines[0] == str(tmp_path / path) and lines[1].startswith("  expected: ") and len(lines) == 4
    assert lines[2].startswith(f"  found:    {found}")
    assert lines[3].startswith("  remedy:   ") and remedy in lines[3]


def test_lost_foreground_is_told(folder):
    """A patient with a field of 400 x 50 px of 1.5 mm whose foreground begins in row 0."""
    image, label = volume(3, shape=(400, 50, 3))
    write(folder / "images" / "p3_frame01_0000.nii.gz", image)
    write(folder / "labels" / "p3_frame01.nii.gz", np.maximum(label, 1))
    text = run(folder)
    assert written(folder).size == (320, 64)
    assert "at most 20.00% of its voxels (in p3_frame01)" in text  # 80 of 400 rows
    assert "set img_size_x = 416" in text and "target_resolution" in text


@pytest.mark.parametrize("count, val, test", [(3, 1, 1), (7, 1, 1), (8, 2, 2), (40, 2, 8)])
def test_split_covers_everyone_once(count, val, test):
    patients = [f"{index:02d}" for index in range(count)]
    tables = split_patients(patients, ["x"], seed=1, val=None, test=None)
    parts = [tables.train["trall"]["*"], tables.val["trall"]["*"], tables.test]
    assert sorted(sum(map(list, parts), [])) == patients
    assert (len(parts[1]), len(parts[2])) == (val, test)
    assert "x" in tables.train["unlabeled"]["*"]
    for key, combinations in tables.train.items():
        for ids in combinations.values():
            assert set(ids) <= {*parts[0], "x"}, key


def test_split_needs_three_patients():
    with pytest.raises(ConfigError, match=r"2 labelled patients \(.*\) cannot be split"):
        split_patients(["a", "b"], [], seed=0, val=None, test=None)
