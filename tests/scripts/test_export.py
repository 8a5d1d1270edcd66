"""The exported folder against predict.py: the same labels, and probabilities within 1e-4."""

from __future__ import annotations

import importlib.util
import json
import shutil
import zipfile

import numpy as np
import pytest

from fewslice.stages import export as stage
from tests.scripts import trained_runs
from tests.scripts.running import run
from tests.scripts.trained_runs import read


def program(folder):
    """The exported program as a module."""
    spec = importlib.util.spec_from_file_location("exported_predict", folder / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scans(house):
    """The scans, one of them stored otherwise, and a damaged one."""
    folder = house.root / "more_scans"
    shutil.copytree(house.scans, folder)
    trained_runs.flipped(folder / "two.nii.gz", folder / "three.nii.gz", 0)
    return folder


@pytest.mark.parametrize("kind", ["a", "experiment"])
def test_the_folder_predicts_as_predict_does(house, scans, tmp_path, kind, monkeypatch):
    named = getattr(house, kind)
    result = run("export_run", f"--run={named}", f"--output={tmp_path / 'export'}")
    assert result.returncode == 0 and "Exported: " in result.stdout, result.stderr
    expected = run("predict", f"--run={named}", f"--images={scans}", f"--output={tmp_path / 'ours'}", "--probabilities")
    assert expected.returncode == 0, expected.stderr
    given = ["--images", str(scans), "--output", str(tmp_path / "theirs"), "--probabilities", "--engine=keras"]
    assert program(tmp_path / "export").main(given) == 0
    for name in ("one", "two", "three"):
        ours, theirs = (tmp_path / folder / f"{name}.nii.gz" for folder in ("ours", "theirs"))
        np.testing.assert_array_equal(read(theirs), read(ours))
        maps = [read(path.with_name(f"{name}_probabilities.nii.gz")) for path in (ours, theirs)]
        np.testing.assert_allclose(*maps, atol=1e-4)
        files = [trained_runs.nib.load(path) for path in (ours, theirs)]
        np.testing.assert_array_equal(files[0].affine, files[1].affine)
        assert files[0].header.get_zooms() == files[1].header.get_zooms()
    assert len(list((tmp_path / "export").glob("*.keras"))) == (2 if kind == "experiment" else 1)


def test_what_the_folder_holds(house, tmp_path):
    output = tmp_path / "export"
    result = run("export_run", f"--run={house.a}", f"--output={output}", "--largest_component")
    assert {path.name for path in output.iterdir()} - {"network_0.onnx"} == {
        "README.md", "network_0.keras", "predict.py", "settings.json",
    }  # fmt: skip
    settings = json.loads((output / "settings.json").read_text())
    assert settings["networks"][0]["name"] == "a" and settings["largest_component"] and not settings["mirroring"]
    assert "1 rv, 2 lv" in (output / "README.md").read_text()
    with zipfile.ZipFile(output / "network_0.keras") as archive:
        texts = [archive.read("config.json").decode()]
    texts += [path.read_text() for path in output.glob("*[dny]") if path.suffix in (".md", ".json", ".py")]
    assert not [text for text in texts if str(house.root) in text or str(tmp_path) in text]
    assert "fewslice" not in texts[0]
    times = [path.stat().st_mtime_ns for path in sorted(output.iterdir())]
    again = run("export_run", f"--run={house.a}", f"--output={output}", "--largest_component")
    assert again.returncode == 0 and "Already exported" in again.stderr
    assert times == [path.stat().st_mtime_ns for path in sorted(output.iterdir())]
    other = run("export_run", f"--run={house.trainings / 'b'}", f"--output={output}")
    assert other.returncode == 1 and "is there and is not this export" in other.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["export"], result.stderr


def test_without_the_extra_one_line_says_so(house, tmp_path, monkeypatch):
    monkeypatch.setattr(stage.importlib.util, "find_spec", lambda name: None)
    result = run("export_run", f"--run={house.a}", f"--output={tmp_path / 'export'}")
    assert result.returncode == 0 and result.stderr.count("No ONNX files: tf2onnx is not installed") == 1
    assert not list((tmp_path / "export").glob("*.onnx"))
    assert "no .onnx files" in (tmp_path / "export" / "README.md").read_text()


def test_the_program_names_bad_scans_and_keeps_what_is_there(house, scans, tmp_path, capsys):
    run("export_run", f"--run={house.a}", f"--output={tmp_path / 'export'}")
    folder, output = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    whole = (scans / "one.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii").write_text("no scan")
    shutil.copy(scans / "one.nii.gz", folder)
    output.mkdir()
    (output / "one.nii.gz").write_text("of somebody else")
    given = ["--images", str(folder), "--output", str(output)]
    assert program(tmp_path / "export").main(given) == 1
    said = capsys.readouterr()
    assert "cut.nii.gz: " in said.err and "text.nii: " in said.err and "one: there already" in said.out
    assert (output / "one.nii.gz").read_text() == "of somebody else"
