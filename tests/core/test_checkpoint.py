"""Checkpoint files: what goes in comes out, and damage is noticed. Expected values are the arrays written."""

from __future__ import annotations

import os
import resource
import signal
import stat
import zipfile

import numpy as np
import pytest

from fewslice.core import checkpoint
from fewslice.core.errors import DataError, FewSliceError

ARRAYS = {
    "enc_c1_a/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "optimizer/0000/iterations": np.int64(7),
    "empty": np.zeros((0, 3), np.float32),
    "half": np.array([1.5, -2.0], np.float16),
}
RECORD = {"step": 3, "best": None, "rows": [{"loss": 0.25}]}


def assert_equal(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == np.asarray(expected[name]).dtype


def test_round_trip(tmp_path):
    checkpoint.save_arrays(tmp_path / "a.npz", ARRAYS, RECORD)
    arrays, record = checkpoint.load_arrays(tmp_path / "a.npz")
    assert_equal(arrays, ARRAYS)
    assert record == RECORD
    assert arrays["enc_c1_a/kernel"].flags.writeable


@pytest.mark.parametrize("change", ["swapped", "type", "shape", "twice", "record"])
def test_members_that_were_exchanged_are_noticed(tmp_path, change):
    a, b = np.arange(4, dtype=np.float32), np.arange(4, 8, dtype=np.float32)
    checkpoint.save_arrays(tmp_path / "a.npz", {"a": a, "b": b}, RECORD)
    with np.load(tmp_path / "a.npz") as archive:
        members = dict(archive)
    text = np.frombuffer(members["record.json"].tobytes().replace(b'"step": 3', b'"step": 4'), np.uint8)
    other = {"swapped": {"a": b, "b": a}, "type": {"a": a.astype(np.float64)}, "shape": {"a": a.reshape(2, 2)},
             "twice": {}, "record": {"record.json": text}}[change]  # fmt: skip
    np.savez(tmp_path / "a.npz", **members | other)
    if change == "twice":
        np.save(tmp_path / "b.npy", b + 1)
        with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.write(tmp_path / "b.npy", "b.npy")
    with pytest.raises(DataError, match="record or arrays were changed"):
        checkpoint.load_arrays(tmp_path / "a.npz")


def test_files_without_a_list_of_names_are_read(tmp_path):
    text = np.frombuffer(b'{"step": 1}', np.uint8)
    np.savez(tmp_path / "old.npz", **{"record.json": text, "a|b": np.ones(2)})
    arrays, record = checkpoint.load_arrays(tmp_path / "old.npz")
    assert list(arrays) == ["a/b"] and record == {"step": 1}


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="(?s)a weight file.*no such file"):
        checkpoint.load_arrays(tmp_path / "absent.npz")
    assert checkpoint.load_state(tmp_path / "absent.npz") is None


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "state.npz"
    checkpoint.save_arrays(path, ARRAYS, RECORD)
    intact = path.read_bytes()
    noticed = 0
    for position in range(0, 8 * len(intact), 37):  # all bits pass too, in 30 s
        content = bytearray(intact)
        content[position // 8] ^= 1 << position % 8
        path.write_bytes(content)
        try:
            arrays, record = checkpoint.load_arrays(path)
        except DataError:
            noticed += 1
        else:
            assert_equal(arrays, ARRAYS)
            assert record == RECORD
    assert noticed > 8 * len(intact) / 37 / 2


@pytest.mark.parametrize("left", [0, 1, 100, 0.5, 0.99])
def test_truncation_is_noticed(tmp_path, left):
    path = tmp_path / "state.npz"
    checkpoint.save_arrays(path, ARRAYS, RECORD)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left < 1 else left])
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load_arrays(path)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"record.json": np.array([{"a": 1}], object)})
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load_arrays(tmp_path / "evil.npz")


def states(path, *steps):
    for step in steps:
        checkpoint.save_state(path, {"x": np.full(3, step)}, {"step": step})


def test_the_state_before_the_last_is_kept_and_used(tmp_path):
    path = tmp_path / "state.npz"
    states(path, 1, 2, 3)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["state.npz", "state.previous.npz"]
    arrays, record, damaged = checkpoint.load_state(path)
    assert record == {"step": 3} and damaged == []
    path.write_bytes(path.read_bytes()[:-30])
    arrays, record, damaged = checkpoint.load_state(path)
    assert record == {"step": 2} and arrays["x"][0] == 2
    assert len(damaged) == 1 and damaged[0].startswith("state.npz: a damaged file")
    path.unlink()
    assert checkpoint.load_state(path)[1] == {"step": 2}


def test_a_kept_damaged_state_does_not_replace_a_good_one(tmp_path):
    path = tmp_path / "state.npz"
    states(path, 1, 2)
    path.write_bytes(b"damaged")
    states(path, 3)
    assert checkpoint.load_state(path)[1] == {"step": 3}


def test_both_names_are_on_the_disk_when_the_state_is_saved(tmp_path, monkeypatch):
    """After the last rename the folder is synchronised; before the first one the new file was."""
    events = []
    replace, fsync = os.replace, os.fsync

    def note_rename(source, target):
        events.append(f"rename to {os.path.basename(target)}")
        replace(source, target)

    def note_sync(handle):
        events.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        fsync(handle)

    path = tmp_path / "state.npz"
    states(path, 1)
    monkeypatch.setattr(os, "replace", note_rename)
    monkeypatch.setattr(os, "fsync", note_sync)
    states(path, 2)
    written = ["sync file", "rename to next.state.npz", "sync folder"]
    assert events == [*written, "rename to state.previous.npz", "rename to state.npz", "sync folder"]


def test_both_states_damaged(tmp_path):
    path = tmp_path / "state.npz"
    states(path, 1, 2)
    for item in tmp_path.iterdir():
        item.write_bytes(b"no zip")
    with pytest.raises(DataError, match="an intact training state") as error:
        checkpoint.load_state(path)
    assert "state.npz" in error.value.found and "state.previous.npz" in error.value.found
    assert "which keeps its weights" in str(error.value)


@pytest.fixture
def small_files():
    """No file may exceed 4 kB inside: what a full disk does to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size=4096):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_harms_nothing(tmp_path, small_files):
    path = tmp_path / "state.npz"
    states(path, 1, 2)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)
    small_files()
    with pytest.raises(FewSliceError, match="Cannot write .*Nothing that was already written is harmed"):
        checkpoint.save_state(path, {"x": np.zeros(10_000)}, {"step": 3})
    resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert before == {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    checkpoint.save_state(path, {"x": np.zeros(10_000)}, {"step": 3})
    assert checkpoint.load_state(path)[1] == {"step": 3}
