"""The check of a whole dataset: every problem of every file, and nothing else. Expected values: by hand."""

import dataclasses
import io
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewslice.core.progress import Progress
from fewslice.data.readers import get_reader
from fewslice.data.verify import describe, examine_dataset, missing_patients
from fewslice.settings.splits import Splits
from tests.data import layouts
from tests.data.layouts import dataset, image, label, save
from tests.data.test_readers import real


def three_patients(root, layout="acdc"):
    folder = layouts.acdc(root, {"001": (1, 2), "002": (1, 2), "003": (1, 2)})
    return folder, get_reader(dataset(layout), root)


def test_sound_dataset(tmp_path):
    _, reader = three_patients(tmp_path)
    assert examine_dataset(reader, reader.cases()).problems == []
    findings = examine_dataset(reader, reader.cases())
    assert [sum(facts.counts) for facts in findings.facts] == 6 * [504]
    text = describe(reader, reader.cases(), findings)
    assert "6 volumes of 3 patients" in text and "14 x 12 x 3 voxels" in text and text.endswith("No problems.")


def test_all_problems_of_all_files(tmp_path):
    folder, reader = three_patients(tmp_path)
    ed, es = (folder / "patient001" / f"patient001_frame{frame}" for frame in ("01", "02"))
    ed.with_name(ed.name + ".nii.gz").write_bytes(b"")
    save(ed.with_name(ed.name + "_gt.nii.gz"), label(codes=(0, 8)))
    es.with_name(es.name + ".nii.gz").unlink()
    last = folder / "patient003" / "patient003_frame02_gt.nii.gz"
    last.write_bytes(last.read_bytes()[:-20])
    cases = reader.cases()
    problems = examine_dataset(reader, cases, workers=3).problems
    assert [Path(problem.path).name for problem in problems] == [
        "patient001_frame01.nii.gz",
        "patient001_frame01_gt.nii.gz",
        "patient001_frame02.nii.gz",
        "patient003_frame02_gt.nii.gz",
    ]
    text = describe(reader, cases, examine_dataset(reader, cases))
    assert text.endswith("4 problems.") and all(str(problem) in text for problem in problems)


def test_copied_image_and_similar_patients(tmp_path):
    folder, reader = three_patients(tmp_path)
    save(folder / "patient003" / "patient003_frame01.nii.gz", image(10).astype("float64"))  # 001_ED, other type
    save(folder / "patient1" / "patient1_frame01.nii.gz", image(77))
    problems = examine_dataset(reader, reader.cases()).problems
    assert len(problems) == 2
    assert problems[0].path.endswith("patient003_frame01.nii.gz") and "case 001_ED" in str(problems[0])
    assert "001 and 1" in str(problems[1])


def lists(train, val, test):
    return Splits(train={"tr1": {"c1": train}}, val={"tr1": {"c1": val}}, test=test, dataset="acdc")


def test_patients_of_the_lists_that_are_missing(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2), "003": (1, 2)})
    here = dataclasses.replace(dataset("acdc"), splits=lists(("001",), ("2",), ("003",)))
    assert missing_patients(get_reader(here, tmp_path)) == [], "2 means 002"
    away = dataclasses.replace(here, splits=lists(("001", "004"), ("005",), ("003", "006")))
    reader = get_reader(away, tmp_path)
    (problem,) = missing_patients(reader)
    assert problem.path == str(tmp_path / "scans")
    assert "the 5 patients of data_cfg_acdc.py" in str(problem) and "no volume of 3: 004, 005, 006" in str(problem)
    assert "Ask the archive." in str(problem)
    findings = examine_dataset(reader, reader.cases())
    findings.problems.append(problem)
    text = describe(reader, reader.cases(), findings)
    assert "2 of the 5 patients in data_cfg_acdc.py are here" in text and text.endswith("1 problem.")


def test_notes_are_no_problems(tmp_path):
    folder, reader = three_patients(tmp_path)
    save(folder / "patient001" / "patient001_frame01.nii.gz", image() * 0 + 5)
    save(folder / "patient002" / "patient002_frame01_gt.nii.gz", label() * 0)
    save(folder / "patient002" / "patient002_frame02_gt.nii.gz", label(codes=(0, 1, 3)))
    (folder / "patient003" / "patient003_frame01_gt.nii.gz").unlink()
    findings = examine_dataset(reader, reader.cases())
    assert findings.problems == [] and sum(bool(facts.counts) for facts in findings.facts) == 5
    assert findings.notes == [
        "the training list tr1 c1 (002) shows no structure",
        "001_ED: the image is constant (5) and becomes zero",
        "002_ED: the label is empty",
        "002_ES: the label has no myo",
    ]


def test_images_that_are_read_otherwise_than_expected(tmp_path):
    folder, reader = three_patients(tmp_path)
    for patient in ("001", "002"):
        scan = np.stack([image(int(patient)), image(50)], axis=-1)
        save(folder / f"patient{patient}" / f"patient{patient}_frame01.nii.gz", scan)
    padded = image(5)
    padded[:5] = -32768
    save(folder / "patient003" / "patient003_frame01.nii.gz", padded)
    save(folder / "patient003" / "patient003_frame02.nii.gz", image(6)[:, :, None])
    save(folder / "patient003" / "patient003_frame02_gt.nii.gz", label(6)[:, :, None])
    findings = examine_dataset(reader, reader.cases())
    assert findings.problems == [] and {fact.shape for fact in findings.facts} == {(14, 12, 3)}
    several, padding, slices = findings.notes
    assert several.startswith("001_ED, 002_ED: of the 2 images in a file of shape 14 x 12 x 3 x 2 number 0")
    assert padding.startswith("003_ED: 36% of the voxels are -32768, far from the rest (")
    assert padding.endswith("taken for padding and is left out of the percentiles and becomes 0")
    assert slices.startswith("003_ES: a file of shape 14 x 12 x 1 x 3 was read as a volume of 3 slices")


def test_scribbles_of_background_alone(tmp_path):
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient002_frame01": "ED"})
    with h5py.File(tmp_path / "scans" / "patient001_frame01.h5", "r+") as file:
        file["scribble"][:] = np.where(label(0).T == 0, 0, 4)
    reader = get_reader(dataset("acdc_h5", spacing_table="spacing.csv"), tmp_path)
    notes = examine_dataset(reader, reader.cases()).notes
    assert "001_ED: the scribbles hold background only" in notes and not any(note.endswith(" 002_ED") for note in notes)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_line():
    stream = Terminal()
    with Progress(2, "Checking", stream=stream) as line:
        line.update(note="001_ED")
        line.update()
    last = stream.getvalue().split("\r")[-1]
    assert last.startswith("Checking [########################] 2/2 0:00") and last.endswith("\n")
    stream = io.StringIO()
    with Progress(500, "Checking", stream=stream) as line:
        for _ in range(500):
            line.update()
    assert stream.getvalue() == "Checking 500/500 0:00\n"
    with Progress(1, "Checking", stream=stream) as line:
        stream.close()  # must not stop the work
        line.update()


@pytest.mark.realdata
@pytest.mark.parametrize("name, folder", [("acdc_h5", "acdc_h5/volumes"), ("acdc", "acdc_nifti")])
def test_real_scans_are_sound(name, folder):
    reader = real(name, folder)
    assert examine_dataset(reader, reader.cases()).problems == []
