"""The scripts that prepare data. Expected words: from their docstrings and the library."""

import shutil

import numpy as np
import pytest

from fewslice.data.io import n4
from tests.data import layouts
from tests.data.layouts import image, save
from tests.golden_files import REPOSITORY
from tests.scripts.running import run

SMALL = ["--set", "data_path_tr=scans", "--set", "img_size_x=32", "--set", "img_size_y=32"]


def test_phantom(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSLICE_DATA", str(tmp_path))
    result = run("make_phantom", "--num_patients", "1")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "phantom" / "patient001" / "Info.cfg").is_file()
    assert "1/1 patients" in result.stdout and str(tmp_path / "phantom") in result.stderr
    result = run("make_phantom", f"--output={tmp_path / 'x'}", "--num_patients=0")
    assert result.returncode == 1 and "must be between 1 and 999. Received: num_patients=0" in result.stderr


def test_missing_dataset(tmp_path):
    for script in ("verify_dataset", "create_cropped_imgs", "N4_bias_correction"):
        result = run(script, "--dataset=acdc", "--data_root", tmp_path)
        assert result.returncode == 1
        assert str(tmp_path / "acdc") in result.stderr and "humanheart-project" in result.stderr


LISTS = """
train = {"tr1": {"c1": ["001"]}}
val = {"tr1": {"c1": ["002"]}}
test = ["003"]
"""


@pytest.fixture
def short_lists(tmp_path, monkeypatch):
    """The settings of acdc with lists of three patients."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    shutil.copy(REPOSITORY / "experiment_init" / "init_acdc.py", folder)
    (folder / "data_cfg_acdc.py").write_text(LISTS)
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(folder))


def test_verify(tmp_path, short_lists):
    folder = layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2), "003": (1, 2)})
    unlabeled = ["--set", "unlabeled_split=tr1"]
    result = run("verify_dataset", "--data_root", tmp_path, *SMALL, *unlabeled)
    assert result.returncode == 0 and "No problems." in result.stdout, result.stderr
    path = folder / "patient001" / "patient001_frame01.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    result = run("verify_dataset", "--data_root", tmp_path, *SMALL, *unlabeled)
    assert result.returncode == 1 and "1 problem." in result.stdout and str(path) in result.stdout


def test_verify_misses_patients_of_the_lists(tmp_path, short_lists):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    result = run("verify_dataset", "--data_root", tmp_path, *SMALL, "--set", "unlabeled_split=tr1")
    assert result.returncode == 1 and "1 problem." in result.stdout
    assert "no volume of 2: 002, 003" in result.stdout and "No problems" not in result.stdout


def test_create_cropped(tmp_path):
    folder = layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    arguments = ("--data_root", tmp_path, *SMALL)
    result = run("create_cropped_imgs", *arguments, "--split=001", "--write_nifti", "--affine=published")
    assert result.returncode == 0 and "2 prepared, 0 up to date, 0 refused" in result.stdout
    assert len(list(tmp_path.glob("cropped/acdc/001_E?/*_cropped.nii.gz"))) == 4
    path = folder / "patient002" / "patient002_frame02.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    result = run("create_cropped_imgs", *arguments)
    assert result.returncode == 1 and "1 prepared, 2 up to date, 1 refused" in result.stdout
    assert str(path) in result.stdout


def test_n4(tmp_path, monkeypatch):
    monkeypatch.setattr(n4, "ITERATIONS", (2, 2))
    save(tmp_path / "in" / "a.nii.gz", image() + np.int16(50))
    save(tmp_path / "in" / "b.nii.gz", image(1) + np.int16(50))
    arguments = ("--input", tmp_path / "in", "--output", tmp_path / "out", "--workers=1")
    result = run("N4_bias_correction", *arguments)
    assert result.returncode == 0 and "2 corrected" in result.stdout, result.stderr
    assert "2 done before" in run("N4_bias_correction", *arguments).stdout
    result = run("N4_bias_correction", "--input", tmp_path / "in")
    assert result.returncode == 1 and "Give --input with --output" in result.stderr
