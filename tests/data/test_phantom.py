"""Expected facts are the phantom's promises: ACDC's layout, ranges of size and spacing, anatomy by slice."""

import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.io.nifti import read_nifti
from fewslice.data.phantom import dataset
from fewslice.data.phantom.dataset import generate_phantom, make_patient


@pytest.fixture(scope="module")
def patients():
    return {number: make_patient(number) for number in range(1, 6)}


def test_ranges(patients):
    for patient in patients.values():
        volume, (x, y, z) = patient.end_diastole, patient.spacing_mm
        assert volume.image.dtype == np.int16 and volume.label.dtype == np.uint8
        assert volume.image.shape == volume.label.shape == patient.end_systole.image.shape
        assert all(110 <= size <= 130 for size in volume.image.shape[:2]) and 7 <= volume.image.shape[2] <= 12
        assert x == y and 1.3 <= x <= 1.9 and 8 <= z <= 10
        assert volume.image.min() >= 0 and volume.image.max() > 100
        assert set(np.unique(volume.label)) == {0, 1, 2, 3}


def test_heart_lies_within_a_central_crop_of_192_mm(patients):
    for patient in patients.values():
        for volume in (patient.end_diastole, patient.end_systole):
            for axis, size in enumerate(volume.label.shape[:2]):
                found = np.flatnonzero((volume.label > 0).any(axis=tuple({0, 1, 2} - {axis})))
                reach = np.abs(found - (size - 1) / 2).max() * patient.spacing_mm[axis]
                assert reach < 95 and 0 < found.min() and found.max() < size - 1


def test_anatomy_by_slice(patients):
    """LV only inside MYO; slices with everything in the middle, without something at both ends."""
    incomplete_at_base = incomplete_at_apex = 0
    for patient in patients.values():
        label = patient.end_diastole.label
        complete = np.array([len(np.unique(label[..., k])) == 4 for k in range(label.shape[2])])
        assert complete.sum() >= 4
        incomplete_at_base += not complete[0]
        incomplete_at_apex += not complete[-1]
        for k in range(label.shape[2]):
            assert (label[..., k] == 2).any() or not (label[..., k] == 3).any()
    assert incomplete_at_base >= 2 and incomplete_at_apex >= 2


def test_systole_empties_the_left_ventricle_and_keeps_the_muscle(patients):
    for patient in patients.values():
        diastole, systole = patient.end_diastole.label, patient.end_systole.label
        assert (systole == 3).sum() < 0.95 * (diastole == 3).sum()
        assert 0.7 < (systole == 2).sum() / (diastole == 2).sum() < 1.4


def test_patients_differ_in_contrast_and_size(patients):
    def ratio(patient):
        volume = patient.end_diastole
        return np.median(volume.image[volume.label == 2]) / np.median(volume.image[volume.label == 3])

    ratios = [ratio(patient) for patient in patients.values()]
    sizes = [(p.end_diastole.label == 3).sum() * np.prod(p.spacing_mm) / 1000 for p in patients.values()]
    assert max(ratios) - min(ratios) > 0.08 and max(ratios) < 0.9
    assert max(sizes) > 1.5 * min(sizes) and 10 < min(sizes) and max(sizes) < 350  # ml


def test_blood_is_as_bright_elsewhere(patients):
    """There are distractors: much that is no heart is as bright as the left ventricle."""
    for patient in patients.values():
        image, label = patient.end_diastole.image, patient.end_diastole.label
        bright = image > np.quantile(image[label == 3], 0.25)
        assert (bright & (label == 0)).sum() > 0.1 * (label == 3).sum()


def test_layout_on_disk(patients, tmp_path):
    """A patient depends on seed and number only; a second call adds patients and leaves those that are there."""
    done = []
    generate_phantom(tmp_path, 1)
    marked = tmp_path / "patient001" / "Info.cfg"
    marked.write_text("kept")
    generate_phantom(tmp_path, 2, progress=lambda *counts: done.append(counts))
    assert done == [(1, 2), (2, 2)] and marked.read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "phantom.json", "patient001", "patient002"}
    folder, expected = tmp_path / "patient002", patients[2]
    info = dict(line.split(": ") for line in (folder / "Info.cfg").read_text().splitlines())
    assert info == expected.info and set(info) == {"ED", "ES", "Group", "Height", "NbFrame", "Weight"}
    frames = [f"patient002_frame{int(info[phase]):02d}" for phase in ("ED", "ES")]
    names = {f"{frame}{suffix}.nii.gz" for frame in frames for suffix in ("", "_gt")} | {"Info.cfg"}
    assert {path.name for path in folder.iterdir()} == names
    image = read_nifti(folder / f"{frames[0]}.nii.gz")
    assert np.array_equal(image.array, expected.end_diastole.image)
    assert image.spacing_mm == pytest.approx(expected.spacing_mm, abs=1e-4)
    assert np.abs(np.diag(image.affine)[:3]) == pytest.approx(expected.spacing_mm, abs=1e-4)
    label = read_nifti(folder / f"{frames[1]}_gt.nii.gz", is_label=True)
    assert np.array_equal(label.array, expected.end_systole.label)
    assert make_patient(2, seed=1).spacing_mm != expected.spacing_mm


def test_interrupted_patient_leaves_nothing_and_another_seed_needs_another_folder(patients, tmp_path, monkeypatch):
    calls, write = [], dataset.write_nifti

    def fail_at_third(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*args, **kwargs)

    monkeypatch.setattr(dataset, "write_nifti", fail_at_third)
    monkeypatch.setattr(dataset, "make_patient", lambda number, *, seed: patients[number])
    with pytest.raises(KeyboardInterrupt):
        generate_phantom(tmp_path, 1, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "phantom.json"]
    (tmp_path / ".patient001.killed").mkdir()
    monkeypatch.setattr(dataset, "write_nifti", write)
    generate_phantom(tmp_path, 1, seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "patient001", "phantom.json"]
    with pytest.raises(DataError, match="found:    seed 1"):
        generate_phantom(tmp_path, 1, seed=2)
    (tmp_path / "other" / "patient001").mkdir(parents=True)
    with pytest.raises(DataError, match="patient folders that were not made here"):
        generate_phantom(tmp_path / "other", 1)


@pytest.mark.parametrize("arguments", [{"num_patients": 0}, {"num_patients": 1000}, {"seed": -1}])
def test_bad_arguments(tmp_path, arguments):
    with pytest.raises(ConfigError, match=f"`{next(iter(arguments))}` must"):
        generate_phantom(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
