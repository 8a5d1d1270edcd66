"""Atomic writing: what was there before survives every failure. Expected contents are typed by hand."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewslice.core import files
from fewslice.core.errors import FewSliceError


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if ".tmp" in path.name)


def test_text_is_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "ä")
    files.write_text(path, "b")
    assert path.read_text(encoding="utf-8") == "b" and leftovers(path.parent) == []


def test_error_in_the_block_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and leftovers(tmp_path) == []


def test_a_writer_removes_what_a_killed_one_left_but_nothing_of_a_living_one(tmp_path):
    path = tmp_path / "a[1].nii.gz"
    for name in (".a[1].nii.gz.x.tmp.nii.gz", ".a[1].nii.gz.x.tmp.json", ".b.nii.gz.x.tmp.nii.gz"):
        (tmp_path / name).write_text("half")
    with files.atomic_path(path) as living:
        living.write_text("first")
        files.write_text(path, "second")
        assert living.exists() and path.read_text() == "second"
    assert path.read_text() == "first" and leftovers(tmp_path) == [".a[1].nii.gz.x.tmp.json", ".b.nii.gz.x.tmp.nii.gz"]


@pytest.mark.parametrize("name", ["a.npz", "a.nii.gz", "best.weights.h5", "a.csv"])
def test_temporary_file_keeps_the_suffix(tmp_path, name):
    with files.atomic_path(tmp_path / name) as temporary:
        temporary.write_text("x")
        assert temporary.parent == tmp_path and temporary.name != name
        assert temporary.name.endswith("." + name.split(".", 1)[1].rsplit("weights.", 1)[-1])


def test_permissions_are_those_of_a_usual_file(tmp_path):
    files.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize(
    "code, remedy",
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EFBIG, "Free some space"),
        (errno.EROFS, "Make the folder writable"),
        (errno.EIO, "Mend the cause"),
    ],
)
def test_refused_write_is_explained(tmp_path, code, remedy):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FewSliceError, match=remedy) as caught, files.atomic_path(path):
        raise OSError(code, os.strerror(code))
    assert str(path) in str(caught.value) and "Nothing that was already written is harmed" in str(caught.value)
    assert path.read_text() == "old" and leftovers(tmp_path) == []


def _refuse_folders(monkeypatch, code):
    usual = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        usual(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_file_system_that_cannot_synchronise_folders(tmp_path, monkeypatch):
    _refuse_folders(monkeypatch, errno.EINVAL)
    files.write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


def test_disk_that_fails_while_a_folder_is_synchronised(tmp_path, monkeypatch):
    _refuse_folders(monkeypatch, errno.EIO)
    with pytest.raises(FewSliceError, match="Cannot write"):
        files.write_text(tmp_path / "a", "x")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from fewslice.core import files\n"
        "with files.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -9 and path.read_text() == "old"


def test_json_is_strict_and_sorted(tmp_path):
    path = tmp_path / "a.json"
    value = {"b": math.nan, "a": (1, np.float32(0.5)), "c": np.array([1, 2]), "d": Path("x"), "e": {3, 1}}
    files.write_json(path, value)
    assert files.read_json(path) == {"a": [1, 0.5], "b": None, "c": [1, 2], "d": "x", "e": [1, 3]}
    assert path.read_text().index('"a"') < path.read_text().index('"b"')


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe", b""])
def test_damaged_json_names_the_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FewSliceError, match=r"a\.json\n.*JSON\n.*no valid JSON"):
        files.read_json(path)


def test_csv_has_the_union_of_columns_and_empty_cells(tmp_path):
    path = tmp_path / "a.csv"
    files.write_csv(path, [{"a": 1, "b": math.nan}, {"a": 2, "c": "x,y"}])
    assert path.read_text() == 'a,b,c\n1,,\n2,,"x,y"\n'


def test_csv_with_given_columns_and_no_rows(tmp_path):
    files.write_csv(tmp_path / "a.csv", [], ["a", "b"])
    assert (tmp_path / "a.csv").read_text() == "a,b\n"


def test_sha256_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_digest_depends_on_values_and_not_on_order():
    assert files.digest({"a": 1, "b": (2.0, 3)}) == files.digest({"b": [2.0, 3], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})
    assert len(files.digest({}, length=7)) == 7
