"""Rows on disk: damage is written again, a full disk is one message. Expected values: the rows that go in."""

import errno
import os

import numpy as np
import pytest

from fewslice.core import rowfile
from fewslice.core.errors import FewSliceError

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)
KEY = {"of": "these"}


def write(path, calls=None, **options):
    def blocks(done):
        for start in range(done, len(ROWS), 2):
            if calls is not None:
                calls.append(start)
            yield ROWS[start : start + 2]

    return rowfile.write_rows(path, len(ROWS), blocks, **{"key": KEY, **options})


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-3],
    "header": lambda content: content.replace(b"(10, 2)", b"(2, 10)"),
    "bit": lambda content: flipped(content, len(content) - 1),
    "magic": lambda content: flipped(content, 1),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_written_again(tmp_path, name, caplog):
    path = tmp_path / "rows.npy"
    write(path)
    whole, calls = path.read_bytes(), []
    assert write(path, calls).flags.writeable is False and calls == []
    path.write_bytes(DAMAGE[name](whole))
    np.testing.assert_array_equal(write(path, calls), ROWS)
    assert path.read_bytes() == whole and str(path) in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"of": "these"}'])
def test_a_file_without_a_sound_checksum_is_written_again(tmp_path, content):
    path, calls = tmp_path / "rows.npy", []
    write(path)
    path.with_suffix(".json").write_text(content)
    np.testing.assert_array_equal(write(path, calls), ROWS)
    assert len(calls) == 5


@pytest.mark.parametrize("is_damaged", [False, True])
def test_an_unfinished_file_is_continued_if_its_rows_are_whole(tmp_path, monkeypatch, is_damaged):
    monkeypatch.setattr(rowfile, "SAVE_EVERY", 1)
    path, calls = tmp_path / "rows.npy", []

    def stopped(done):
        yield ROWS[:2]
        yield ROWS[2:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rowfile.write_rows(path, len(ROWS), stopped, key=KEY)
    partial = path.with_suffix(".partial.npy")
    if is_damaged:
        partial.write_bytes(flipped(partial.read_bytes(), 128 + 9))
    np.testing.assert_array_equal(write(path, calls), ROWS)
    assert calls[0] == (0 if is_damaged else 4)


@pytest.mark.parametrize("has_call", [True, False])
def test_a_full_disk_is_one_message(tmp_path, monkeypatch, has_call):
    """The space is taken before the map is written, which would end the process with SIGBUS."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    if not has_call:
        monkeypatch.delattr(os, "posix_fallocate")
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FewSliceError, match=r"rows.npy: No space left on device.*Free some space"):
        write(tmp_path / "rows.npy")


def test_space_is_taken_where_the_file_system_has_no_call_for_it(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refused)
    np.testing.assert_array_equal(write(tmp_path / "rows.npy"), ROWS)
