"""Finding and reading volumes in every layout, image and label that do not fit, and which volumes a split list means.

Expected values: the arrays that `tests/data/layouts.py` wrote with nibabel and h5py; the .h5 and the NIfTI form of the
same real ACDC patients must give the same volumes.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.readers import READERS, find_cases, get_reader
from fewslice.settings.datasets import load_dataset_config
from tests.data import layouts
from tests.data.layouts import AFFINE, SHAPE, SHARED_DATA, SPACING, dataset, image, label, save

LAYOUTS = ("acdc", "acdc_h5", "acdc_slices_h5", "case_folders", "mmwhs", "msd", "paired_folders", "slices_h5")


def names(cases):
    return [(case.case_id, case.patient_id, case.phase, case.label_path is not None) for case in cases]


def check(volume, seed):
    np.testing.assert_array_equal(volume.image, image(seed))
    np.testing.assert_array_equal(volume.label, label(seed))
    assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
    np.testing.assert_allclose(volume.spacing_mm, SPACING)
    np.testing.assert_allclose(volume.affine, AFFINE)


def test_every_layout_has_a_reader():
    assert READERS.names() == sorted([*LAYOUTS, "glas"])  # pictures: tests/scripts/test_picture_datasets.py
    with pytest.raises(ConfigError, match="Did you mean 'acdc'"):
        get_reader(dataset("acd"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_and_empty_folder_say_what_belongs_there(tmp_path, layout):
    reader = get_reader(dataset(layout, spacing_table="spacing.csv"), tmp_path)
    with pytest.raises(DataError, match="no such folder") as error:
        reader.cases()
    assert str(tmp_path / "scans") in str(error.value) and "Ask the archive." in str(error.value)
    assert reader.expects in str(error.value) and "FEWSLICE_DATA" in str(error.value)
    (tmp_path / "scans").mkdir()
    with pytest.raises(DataError, match="Ask the archive."):
        reader.cases()


def test_acdc(tmp_path):
    layouts.acdc(tmp_path, {"002": (1, 12), "010": (4, 11)})
    (tmp_path / "scans" / "old").mkdir()
    (tmp_path / "scans" / "patient099").mkdir()
    save(tmp_path / "scans" / "patient002" / "patient002_4d.nii.gz", image(shape=(4, 4, 3, 2)))
    (tmp_path / "scans" / "patient002" / "._patient002_frame01.nii.gz").write_bytes(b"archive rubbish")
    reader = get_reader(dataset("acdc"), tmp_path)
    expected = [(f"{patient}_{phase}", patient, phase, True) for patient in ("002", "010") for phase in ("ED", "ES")]
    assert names(reader.cases()) == expected
    for case, seed in zip(reader.cases(), (20, 21, 100, 101), strict=True):
        check(reader.read(case), seed)
    assert [Path(note.split()[0]).name for note in reader.notes] == ["old", "patient099"]


def test_acdc_without_info(tmp_path):
    folder = layouts.acdc(tmp_path, {"001": (7, 3)}, info=False)
    reader = get_reader(dataset("acdc"), tmp_path)
    assert [case.image_path.name[-9:-7] for case in reader.cases()] == ["03", "07"]  # ED first
    save(folder / "patient001" / "patient001_frame09.nii.gz", image())
    with pytest.raises(DataError, match="Info.cfg(.|\n)*3 frames: 3, 7, 9"):
        get_reader(dataset("acdc"), tmp_path).cases()


@pytest.mark.parametrize("text", ["ED: 1\n", "ED: 1\nES: 1\n", "ED: one\nES: 3\n", ""])
def test_acdc_with_false_info(tmp_path, text):
    folder = layouts.acdc(tmp_path, {"001": (1, 3)})
    (folder / "patient001" / "Info.cfg").write_text(text)
    with pytest.raises(DataError, match="ED: <frame> and ES: <frame>"):
        get_reader(dataset("acdc"), tmp_path).cases()


def test_acdc_frame_named_by_info_is_missing(tmp_path):
    folder = layouts.acdc(tmp_path, {"001": (1, 3)})
    (folder / "patient001" / "patient001_frame03.nii.gz").unlink()
    reader = get_reader(dataset("acdc"), tmp_path)
    with pytest.raises(DataError, match="patient001_frame03.nii.gz\n.*\n.*no such file"):
        reader.read(reader.cases()[1])


@pytest.mark.parametrize("suffix", ["", "_0000"], ids=["msd", "nnunet"])
def test_msd(tmp_path, suffix):
    labels = {"background": 0, "rv": 1, "myo": 2, "lv": 3} if suffix else None
    folder = layouts.msd(tmp_path, ("heart_1", "heart_2"), suffix=suffix, labels=labels)
    save(folder / "imagesTs" / f"heart_3{suffix}.nii.gz", image(2))
    reader = get_reader(dataset("msd"), tmp_path)
    assert names(reader.cases()) == [(f"heart_{n}", f"heart_{n}", "", n < 3) for n in (1, 2, 3)]
    for seed, case in enumerate(reader.cases()[:2]):
        check(reader.read(case), seed)
    with pytest.raises(DataError, match="an image without a label"):
        reader.read(reader.cases()[2])
    assert reader.read(reader.cases()[2], with_label=False).label is None


def test_msd_channels(tmp_path):
    folder = layouts.msd(tmp_path, ("a",), suffix="_0000")
    save(folder / "imagesTr" / "a_0001.nii.gz", image(7))
    reader = get_reader(dataset("msd", image_channel=1), tmp_path)
    np.testing.assert_array_equal(reader.read(reader.cases()[0]).image, image(7))
    stacked = image(3, (*SHAPE, 2))
    (folder / "imagesTr" / "a_0000.nii.gz").unlink(), (folder / "imagesTr" / "a_0001.nii.gz").unlink()
    save(folder / "imagesTr" / "a.nii.gz", stacked)
    reader = get_reader(dataset("msd", image_channel=1), tmp_path)
    np.testing.assert_array_equal(reader.read(reader.cases()[0]).image, stacked[..., 1])


FALSE_LABELS = {
    "one_class_more": ({"0": "background", "1": "a", "2": "b", "3": "c", "4": "d"}, "4 classes 0 to 3"),
    "one_class_less": ({"0": "background", "1": "a"}, "4 classes 0 to 3"),
    "regions": ({"background": 0, "whole": [1, 2], "core": 2}, "region-based"),
    "twice": ({"background": 0, "a": 1, "b": 1}, "different code"),
    "ignore": ({"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4}, "ignore label"),
    "none": ({}, "`labels` such as"),
}


@pytest.mark.parametrize("name", FALSE_LABELS)
def test_msd_labels_are_checked(tmp_path, name):
    labels, words = FALSE_LABELS[name]
    layouts.msd(tmp_path, ("a",), labels=labels)
    with pytest.raises(DataError, match=words):
        get_reader(dataset("msd"), tmp_path).cases()


def test_msd_labels_with_map(tmp_path):
    layouts.msd(tmp_path, ("a",), labels={"0": "background", "10": "a", "20": "b"})
    settings = dataset("msd", num_classes=3, struct_name=("a", "b"), label_map=((10, 2), (20, 1)))
    save(tmp_path / "scans" / "labelsTr" / "a.nii.gz", label(codes=(0, 10, 20)))
    volume = get_reader(settings, tmp_path).read(get_reader(settings, tmp_path).cases()[0])
    np.testing.assert_array_equal(volume.label, np.choose(label(codes=(0, 10, 20)) // 10, [0, 2, 1]))
    with pytest.raises(DataError, match="none for 20"):
        get_reader(dataset("msd", label_map=((10, 2),)), tmp_path).cases()


@pytest.mark.parametrize("content", [None, "{", "[]"], ids=["absent", "broken", "list"])
def test_msd_needs_dataset_json(tmp_path, content):
    folder = layouts.msd(tmp_path, ("a",))
    (folder / "dataset.json").unlink()
    if content:
        (folder / "dataset.json").write_text(content)
    with pytest.raises(DataError, match="dataset.json"):
        get_reader(dataset("msd"), tmp_path).cases()


def test_msd_file_listed_but_missing(tmp_path):
    folder = layouts.msd(tmp_path, ("a", "b"))
    info = json.loads((folder / "dataset.json").read_text())
    info["training"] = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in "abc"]
    (folder / "dataset.json").write_text(json.dumps(info))
    reader = get_reader(dataset("msd"), tmp_path)
    assert [case.case_id for case in reader.cases()] == ["a", "b", "c"]
    with pytest.raises(DataError, match="c.nii.gz(.|\n)*no such file"):
        reader.read(reader.cases()[2])


MMWHS = ((205, 1), (420, 2), (500, 3))


def mmwhs(root, codes, *, official=True):
    base = root / "scans" / ("mr_train" if official else "1001")
    stems = ("mr_train_1001_image", "mr_train_1001_label") if official else ("img", "seg")
    save(base / f"{stems[0]}.nii.gz", image())
    save(base / f"{stems[1]}.nii.gz", label(codes=codes))
    return get_reader(dataset("mmwhs", label_map=MMWHS), root)


@pytest.mark.parametrize("official", [True, False])
def test_mmwhs(tmp_path, official):
    reader = mmwhs(tmp_path, (0, 205, 420, 500), official=official)
    assert names(reader.cases()) == [("1001", "1001", "", True)]
    volume = reader.read(reader.cases()[0])
    np.testing.assert_array_equal(volume.label, np.searchsorted([0, 205, 420, 500], label(codes=(0, 205, 420, 500))))
    assert volume.notes == ()


def test_mmwhs_unknown_code_becomes_background_with_a_note(tmp_path):
    reader = mmwhs(tmp_path, (0, 205, 421, 500))
    volume = reader.read(reader.cases()[0])
    codes = label(codes=(0, 205, 421, 500))
    np.testing.assert_array_equal(volume.label, (codes == 205) * 1 + (codes == 500) * 3)
    assert f"421 ({(codes == 421).sum()} voxels)" in volume.notes[0]


def test_mmwhs_translated_before(tmp_path):
    reader = mmwhs(tmp_path, (0, 1, 2, 3))
    np.testing.assert_array_equal(reader.read(reader.cases()[0]).label, label())
    reader = mmwhs(tmp_path, (0, 7, 9))
    with pytest.raises(DataError, match="0, 205, 420, 500"):
        reader.read(reader.cases()[0])


def test_case_folders(tmp_path):
    stacked = image(1, (*SHAPE, 2))
    save(tmp_path / "scans" / "000" / "img.nii.gz", stacked)
    save(tmp_path / "scans" / "000" / "mask.nii.gz", label(1))
    save(tmp_path / "scans" / "001" / "img.nii", image(2))
    (tmp_path / "scans" / "empty").mkdir()
    reader = get_reader(dataset("case_folders", image_channel=1), tmp_path)
    assert names(reader.cases()) == [("000", "000", "", True), ("001", "001", "", False)]
    np.testing.assert_array_equal(reader.read(reader.cases()[0]).image, stacked[..., 1])
    assert "empty" in reader.notes[0]


def test_paired_folders(tmp_path):
    for number, stem in enumerate(("anna_t01", "anna_t02", "ben")):
        save(tmp_path / "scans" / "pictures" / f"{stem}.nii.gz", image(number))
        save(tmp_path / "scans" / "masks" / f"{stem}.nii", label(number))
    reader = get_reader(dataset("paired_folders", images_dir="pictures", labels_dir="masks"), tmp_path)
    expected = [("anna_t01", "anna", "", True), ("anna_t02", "anna", "", True), ("ben", "ben", "", True)]
    assert names(reader.cases()) == expected
    for seed, case in enumerate(reader.cases()):
        check(reader.read(case), seed)
    save(tmp_path / "scans" / "pictures" / "ben.nii", image())
    with pytest.raises(DataError, match="ben.nii and ben.nii.gz"):
        get_reader(dataset("paired_folders", images_dir="pictures", labels_dir="masks"), tmp_path).cases()


def test_acdc_h5(tmp_path):
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient001_frame12": "ES"})
    reader = get_reader(dataset("acdc_h5", spacing_table="spacing.csv"), tmp_path)
    assert names(reader.cases()) == [("001_ED", "001", "ED", True), ("001_ES", "001", "ES", True)]
    for seed, case in enumerate(reader.cases()):
        volume = reader.read(case)
        check(volume, seed)
        np.testing.assert_array_equal(volume.scribble, label(seed, codes=(0, 3, 4)))
        assert reader.read(case, with_label=False).scribble is None


def _rewrite(path, key, array):
    import h5py

    with h5py.File(path, "a") as file:
        del file[key]
        if array is not None:
            file[key] = array


H5_DAMAGE = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-200]), "intact .h5"),
    "no_h5": (lambda p: p.write_bytes(b"x" * 999), "intact .h5"),
    "missing": (lambda p: p.unlink(), "no such file"),
    "float_label": (lambda p: _rewrite(p, "label", np.zeros(SHAPE[::-1])), "`label`"),
    "no_label": (lambda p: _rewrite(p, "label", None), "`label`"),
    "scribble": (lambda p: _rewrite(p, "scribble", np.full(SHAPE[::-1], 5, np.uint8)), "0 to 4"),
}


@pytest.mark.parametrize("name", H5_DAMAGE)
def test_damaged_h5(tmp_path, name):
    folder = layouts.h5(tmp_path, {"patient001_frame01": "ED"})
    reader = get_reader(dataset("acdc_h5", spacing_table="spacing.csv"), tmp_path)
    case = reader.cases()[0]
    damage, words = H5_DAMAGE[name]
    damage(folder / "patient001_frame01.h5")
    with pytest.raises(DataError, match=words):
        reader.read(case)


@pytest.mark.parametrize(
    "old, new, words",
    [("patient001_frame01", "patient009_frame01", "none for patient001_frame01"),
     (",ED,", ",XX,", "phase 'XX'"), ("8.0", "-8", "spacing_z_mm = '-8'"), ("phase", "time", "no column phase")],
    ids=["row", "phase", "spacing", "column"],
)  # fmt: skip
def test_false_spacing_table(tmp_path, old, new, words):
    layouts.h5(tmp_path, {"patient001_frame01": "ED"})
    table = tmp_path / "spacing.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=words):
        get_reader(dataset("acdc_h5", spacing_table="spacing.csv"), tmp_path).cases()


MOVED = AFFINE + np.pad([[0.1]], ((0, 3), (3, 0)))
MISFITS = {
    "shape": (lambda p: save(p, label(shape=(14, 12, 4))), "shape (14, 12, 3), as its image"),
    "spacing": (lambda p: save(p, label(), zooms=(1.5, 1.25, 8.1)), "voxels of (1.5, 1.25, 8.0) mm"),
    "affine": (lambda p: save(p, label(), MOVED), "a corner 0.1 mm off"),
    "code": (lambda p: save(p, label(codes=(0, 4, 9))), "label values 0 to 3"),
    "negative": (lambda p: save(p, label(codes=(0, -1))), "-1 ("),
    "no_integers": (lambda p: save(p, label() * 0.5), "integer labels"),
    "damaged": (lambda p: p.write_bytes(p.read_bytes()[:-30]), "gzip stream"),
}


def patient(root):
    folder = layouts.acdc(root, {"001": (1, 2)}) / "patient001"
    reader = get_reader(dataset("acdc"), root)
    return reader, reader.cases()[0], folder / "patient001_frame01_gt.nii.gz"


@pytest.mark.parametrize("name", MISFITS)
def test_label_that_does_not_fit_its_image(tmp_path, name):
    reader, case, path = patient(tmp_path)
    change, words = MISFITS[name]
    change(path)
    with pytest.raises(DataError) as error:
        reader.read(case)
    assert error.value.path == str(path) and words in str(error.value)
    assert reader.read(case, with_label=False).label is None


def test_small_differences_of_the_grid_are_accepted(tmp_path):
    reader, case, path = patient(tmp_path)
    save(path, label(10), AFFINE + 5e-3 * np.eye(4, k=1), (1.5004, 1.25, 8.0))
    np.testing.assert_array_equal(reader.read(case).label, label(10))


def test_examine_lists_every_problem(tmp_path):
    reader, case, path = patient(tmp_path)
    save(path, label(shape=(14, 12, 4), codes=(0, 9)), MOVED)
    _, problems = reader.examine(case)
    assert len(problems) == 2
    array = image(dtype=np.float32)
    array[0] = np.nan
    save(case.image_path, array)
    _, problems = reader.examine(case)
    assert [error.path for error in problems] == [str(case.image_path), str(path)]


def ids(reader, *args):
    return [(case.case_id, case.patient_id) for case in find_cases(reader, *args)]


def test_find_cases_keeps_the_order_of_the_list(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2), "010": (1, 2)})
    reader = get_reader(dataset("acdc"), tmp_path)
    assert ids(reader, ["010", "001"], ["ES"]) == [("010_ES", "010"), ("001_ES", "001")]
    assert ids(reader, ["002"], ["ED", "ES"]) == [("002_ED", "002"), ("002_ES", "002")]


def test_find_cases_by_number(tmp_path):
    layouts.msd(tmp_path, ("prostate_00", "prostate_10"))
    reader = get_reader(dataset("msd"), tmp_path)
    assert ids(reader, ["010", "prostate_00"], [""]) == [("prostate_10", "010"), ("prostate_00", "prostate_00")]
    with pytest.raises(ConfigError, match="000, 0 are the same patient"):
        find_cases(reader, ["000", "0"], [""])


def test_find_cases_not_by_number_if_that_is_ambiguous(tmp_path):
    layouts.msd(tmp_path, ("a_1", "b_1"))
    with pytest.raises(DataError, match="none for 1\n"):
        find_cases(get_reader(dataset("msd"), tmp_path), ["1"], [""])


@pytest.mark.parametrize(
    "patients, phases, kind, words",
    [
        ([], ["ED"], ConfigError, "no ids at all"),
        (["001", "001"], ["ED"], ConfigError, "more than once: 001"),
        (["001", " "], ["ED"], ConfigError, "an empty id"),
        ([1], ["ED"], ConfigError, "an id that is no text: 1"),
        (["001"], [], ConfigError, "no phases"),
        (["001", "007", "008"], ["ED"], DataError, r"none for 007 \(ED\), 008 \(ED\)"),
        (["001"], ["ED", ""], DataError, "none for 001\n"),
    ],
)
def test_false_lists(tmp_path, patients, phases, kind, words):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    with pytest.raises(kind, match=words):
        find_cases(get_reader(dataset("acdc"), tmp_path), patients, phases)


def real(name, folder, **changes):
    if not (SHARED_DATA / folder).is_dir():
        pytest.skip(f"no scans {SHARED_DATA / folder}; set FEWSLICE_SHARED_DATA")
    return get_reader(dataclasses.replace(load_dataset_config(name), data_path_tr=folder, **changes), SHARED_DATA)


@pytest.mark.realdata
def test_real_acdc_is_the_same_in_both_forms():
    packed, plain = real("acdc_h5", "acdc_h5/volumes"), real("acdc", "acdc_nifti")
    assert len(packed.cases()) == 40 and len(plain.cases()) == 12
    twins = {case.case_id: case for case in packed.cases()}
    for case in plain.cases()[:4]:
        one, other = plain.read(case), packed.read(twins[case.case_id])
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_allclose(one.spacing_mm, other.spacing_mm, atol=1e-4)


@pytest.mark.realdata
def test_real_msd_folder():
    reader = real("prostate_md", "hippocampus_msd")
    assert len(reader.cases()) == 261
    by_id = {case.case_id: case for case in reader.cases()}
    for name in ("hippocampus_003", "hippocampus_243"):  # labels stored as float32
        assert set(np.unique(reader.read(by_id[name]).label)) == {0, 1, 2}
    assert by_id["hippocampus_118"].label_path is None
