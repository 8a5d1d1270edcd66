"""What the system refuses while folders are listed or files are opened: one `DataError`, no traceback.

The refusals are patched in, since tests may run as root, whom nothing is refused. Expected: the texts of `os.strerror`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fewslice.core.errors import DataError
from fewslice.data.cache import build_cache
from fewslice.data.new_dataset.derive import Request, provisional
from fewslice.data.readers import get_reader
from fewslice.data.verify import examine_dataset
from tests.data import layouts
from tests.data.layouts import dataset, image, label, save
from tests.data.test_readers import LAYOUTS

CODES = {errno.EACCES: "chmod", errno.ENOTDIR: "A part of this path is a file", errno.EIO: "network drive"}


def made(folder):
    folder.mkdir()
    return folder


def write(layout, root):
    """Writes one volume in a layout. Returns its reader, a folder that is listed and small files that are read."""
    scans, settings = root / "scans", dataset(layout, spacing_table="spacing.csv")
    if layout == "acdc":
        layouts.acdc(root, {"001": (1, 2)})
        return get_reader(settings, root), scans / "patient001", [scans / "patient001" / "Info.cfg"]
    if layout == "acdc_h5":
        layouts.h5(root, {"patient001_frame01": "ED"})
        return get_reader(settings, root), scans, [root / "spacing.csv"]
    if layout.endswith("slices_h5"):
        name = "patient001_frame01_slice_0"
        (layouts.h5(root, {name: "ED"}) / f"{name}.h5").rename(made(scans / "training_slices") / f"{name}.h5")
        return get_reader(settings, root), scans / "training_slices", []
    if layout in ("msd", "paired_folders"):
        layouts.msd(root, ("a",))
        small = [scans / "dataset.json"] if layout == "msd" else []
        return get_reader(settings, root), scans / "imagesTr", small
    names = ("img", "mask") if layout == "case_folders" else ("img", "seg")
    save(scans / "001" / f"{names[0]}.nii.gz", image())
    save(scans / "001" / f"{names[1]}.nii.gz", label())
    return get_reader(settings, root), scans, []


@pytest.fixture
def refuse(monkeypatch):
    """Returns a function (method of Path, path, errno) after which that method refuses this path."""

    def patch(method, path, code):
        usual = getattr(Path, method)

        def refused(self, *args, **kwargs):
            if self == path:
                raise OSError(code, os.strerror(code), str(self))
            return usual(self, *args, **kwargs)

        monkeypatch.setattr(Path, method, refused)

    return patch


def check(error, path, code):
    assert error.path == str(path) and error.found == os.strerror(code) and CODES[code] in error.remedy


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_that_cannot_be_listed(tmp_path, refuse, layout, code):
    reader, folder, _ = write(layout, tmp_path)
    refuse("iterdir", folder, code)
    with pytest.raises(DataError) as error:
        reader.cases()
    check(error.value, folder, code)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_that_cannot_be_entered(tmp_path, refuse, layout):
    reader, folder, _ = write(layout, tmp_path)
    refuse("is_dir", reader.folder, errno.EACCES)
    with pytest.raises(DataError) as error:
        reader.cases()
    check(error.value, reader.folder, errno.EACCES)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("layout", ["acdc", "acdc_h5", "msd"])
def test_small_files_that_cannot_be_opened(tmp_path, monkeypatch, layout, code):
    import builtins
    import io

    reader, _, (small,) = write(layout, tmp_path)
    usual = io.open

    def refused(file, *args, **kwargs):
        if not isinstance(file, int) and os.fspath(file) == str(small):
            raise OSError(code, os.strerror(code), str(file))
        return usual(file, *args, **kwargs)

    monkeypatch.setattr(io, "open", refused)
    monkeypatch.setattr(builtins, "open", refused)
    with pytest.raises(DataError) as error:
        reader.cases()
    check(error.value, small, code)


@pytest.mark.parametrize("which", ["image_path", "label_path"])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if not name.endswith("_h5")])
def test_volume_in_a_folder_that_cannot_be_entered(tmp_path, refuse, layout, which):
    reader, _, _ = write(layout, tmp_path)
    case = reader.cases()[0]
    refuse("exists", getattr(case, which), errno.EACCES)
    with pytest.raises(DataError) as error:
        reader.read(case)
    check(error.value, getattr(case, which), errno.EACCES)
    (problem,) = examine_dataset(reader, [case]).problems
    assert os.strerror(errno.EACCES) in str(problem)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOTDIR])
def test_h5_file_that_cannot_be_opened(tmp_path, monkeypatch, code):
    import h5py

    reader, _, _ = write("acdc_h5", tmp_path)
    case = reader.cases()[0]

    def refused(*_args, **_kwargs):
        raise OSError(code, f"Unable to synchronously open file (many\nlines, errno = {code})")

    monkeypatch.setattr(h5py, "File", refused)
    with pytest.raises(DataError) as error:
        reader.read(case)
    check(error.value, case.image_path, code)


def test_image_that_fails_while_it_is_read(tmp_path, monkeypatch):
    import gzip

    reader, _, _ = write("msd", tmp_path)

    def fails(self, size=-1):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(gzip.GzipFile, "read", fails)
    with pytest.raises(DataError, match=os.strerror(errno.EIO)) as error:
        reader.read(reader.cases()[0])
    assert error.value.path == str(reader.cases()[0].image_path) and "disk" in error.value.remedy


def test_cache_reports_the_volume_and_prepares_the_others(tmp_path, refuse):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    reader = get_reader(dataset("acdc"), tmp_path)
    cases = reader.cases()
    options = {"with_label": True, "progress": False}
    assert len(build_cache(reader, cases, **options).done) == 2
    for method in ("stat", "exists"):
        refuse(method, cases[0].image_path, errno.EACCES)
    report = build_cache(reader, cases, **options)
    assert report.skipped == ["001_ES"] and "Permission denied" in str(report.refused["001_ED"])


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_new_dataset(tmp_path, refuse, folder):
    scans = layouts.msd(tmp_path, ("a", "b"))
    (scans / "dataset.json").unlink()
    refuse("iterdir", scans / folder, errno.EACCES)
    for request in (Request("mine", scans), Request("mine", scans / "imagesTr", scans / "labelsTr")):
        with pytest.raises(DataError) as error:
            provisional(request)
        check(error.value, scans / folder, errno.EACCES)
