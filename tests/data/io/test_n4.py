"""N4 bias-field correction.

Expected values: an image of two tissues under a known smooth shading must come out evener; files that are done are
not touched again.
"""

import threading
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.io import n4
from fewslice.data.readers import get_reader
from tests.data import layouts
from tests.data.layouts import dataset, image, save


def shaded(shape=(32, 36, 3)):
    """Returns the image under the shading, and where the bright tissue is."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    tissue = np.hypot(x, y)[..., None] < 0.6
    clean = np.where(np.broadcast_to(tissue, shape), 200.0, 80.0) * rng.normal(1, 0.02, shape)
    return (clean * np.exp(0.5 * x)[..., None]).astype(np.float32), np.broadcast_to(tissue, shape)


def unevenness(array, tissue):
    return array[tissue].std() / array[tissue].mean()


@pytest.mark.parametrize("factor, depth", [(1, 3), (4, 3), (4, 1)])
def test_shading_is_removed(factor, depth):
    array, tissue = shaded((64, 72, depth) if factor > 1 else (32, 36, depth))
    corrected = n4.n4_correct(array, (1.5, 1.5, 8.0), shrink_factor=factor)
    assert corrected.shape == array.shape and corrected.dtype == np.float32
    assert unevenness(corrected, tissue) < 0.4 * unevenness(array, tissue)


def test_folder(tmp_path):
    array, _ = shaded()
    for name in ("a.nii.gz", "sub/b.nii"):
        save(tmp_path / "in" / name, array)
    save(tmp_path / "in" / "black.nii.gz", array * 0)
    broken = save(tmp_path / "in" / "broken.nii.gz", array)
    broken.write_bytes(broken.read_bytes()[:-40])
    jobs = n4.folder_jobs(tmp_path / "in", tmp_path / "out", shrink_factor=4)
    report = n4.correct_files(jobs, tmp_path / "out", workers=1, progress=False)
    assert [Path(path).name for path in report.done] == ["a.nii.gz", "b.nii.gz"]
    assert sorted(report.refused) == [
        str(broken.with_name("black.nii.gz")),
        str(broken),
    ]
    assert "2 corrected, 0 done before, 2 refused" in report.describe() and str(broken) in report.describe()
    assert "N4 failed: no positive voxel" in report.describe()
    old, new = nib.load(tmp_path / "in" / "a.nii.gz"), nib.load(tmp_path / "out" / "a.nii.gz")
    assert new.header.get_zooms() == old.header.get_zooms()
    np.testing.assert_array_equal(new.affine, old.affine)
    expected = n4.n4_correct(array, layouts.SPACING)
    np.testing.assert_array_equal(np.asarray(new.dataobj), expected)


def test_done_files_are_skipped_and_changed_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(n4, "ITERATIONS", (2, 2))
    array, _ = shaded((20, 20, 2))
    for name in "abcd":
        save(tmp_path / "in" / f"{name}.nii.gz", array)

    def run(factor=4):
        jobs = n4.folder_jobs(tmp_path / "in", tmp_path / "out", shrink_factor=factor)
        report = n4.correct_files(jobs, tmp_path / "out", workers=1, progress=False)
        return [Path(path).name[0] for path in report.done]

    assert run() == ["a", "b", "c", "d"] and run() == []
    save(tmp_path / "in" / "b.nii.gz", array * 2)
    (tmp_path / "out" / "c.nii.gz").unlink()
    (tmp_path / "out" / "d.nii.gz").write_bytes((tmp_path / "out" / "d.nii.gz").read_bytes()[:-1])
    assert run() == ["b", "c", "d"] and run() == [] and run(factor=3) == ["a", "b", "c", "d"]


def test_dataset_keeps_its_layout(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    reader = get_reader(dataset("acdc"), tmp_path)
    jobs = n4.dataset_jobs(reader, tmp_path / "scans_n4", shrink_factor=4)
    report = n4.correct_files(jobs, tmp_path / "scans_n4", workers=2, progress=False)
    assert len(report.done) == 2
    corrected = get_reader(dataset("acdc", folder="scans_n4"), tmp_path)
    for case, original in zip(corrected.cases(), reader.cases(), strict=True):
        assert case.case_id == original.case_id
        np.testing.assert_array_equal(corrected.read(case).label, reader.read(original).label)
        assert not np.array_equal(corrected.read(case).image, reader.read(original).image)
    assert corrected.notes == []


def test_a_worker_ends_with_its_parent(monkeypatch):
    killed, ended = threading.Event(), []
    monkeypatch.setattr(n4.signal, "signal", lambda *_: None)
    monkeypatch.setattr(n4.multiprocessing, "parent_process", lambda: SimpleNamespace(join=killed.wait))
    monkeypatch.setattr(n4.os, "_exit", ended.append)
    n4._begin_worker()
    (follower,) = [thread for thread in threading.enumerate() if thread.name.endswith("(follow)")]
    assert ended == [] and follower.daemon
    killed.set()
    follower.join(5)
    assert ended == [1]


def test_wrong_folders(tmp_path):
    layouts.h5(tmp_path, {"patient001_frame01": "ED"})
    reader = get_reader(dataset("acdc_h5", spacing_table="spacing.csv"), tmp_path)
    with pytest.raises(ConfigError, match="NIfTI"):
        n4.dataset_jobs(reader, tmp_path / "out", shrink_factor=4)
    with pytest.raises(DataError, match="no such folder"):
        n4.folder_jobs(tmp_path / "nowhere", tmp_path / "out", shrink_factor=4)
    save(tmp_path / "in" / "a.nii.gz", image())
    for output in (tmp_path / "in", tmp_path / "in" / "corrected"):
        with pytest.raises(ConfigError, match="outside the input"):
            n4.folder_jobs(tmp_path / "in", output, shrink_factor=4)
