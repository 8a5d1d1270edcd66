"""Image and label that do not fit, and which volumes a split list means. Expected values: by hand.

Real scans: the .h5 and the NIfTI form of the same ACDC patients must give the same volumes.
"""

import dataclasses

import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings.datasets import load_dataset_config
from tests.data import layouts
from tests.data.layouts import AFFINE, SHARED_DATA, dataset, image, label, save

MOVED = AFFINE + np.pad([[0.1]], ((0, 3), (3, 0)))
MISFITS = {
    "shape": (lambda p: save(p, label(shape=(14, 12, 4))), "shape (14, 12, 3), as its image"),
    "spacing": (lambda p: save(p, label(), zooms=(1.5, 1.25, 8.1)), "voxels of (1.5, 1.25, 8.0) mm"),
    "affine": (lambda p: save(p, label(), MOVED), "which differs by up to 0.1"),
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
    assert len(problems) == 3
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
