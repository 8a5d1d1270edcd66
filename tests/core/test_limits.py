"""What a small file asks for is refused before it is taken. Expected values: sizes by hand."""

import os
import tracemalloc

import h5py
import numpy as np
import pytest

from fewslice.core import checkpoint, files, limits, rowfile
from fewslice.core.errors import ConfigError, DataError
from fewslice.data.cache import build_cache
from fewslice.data.io.nifti import read_nifti
from fewslice.data.readers import get_reader, paired_folders
from fewslice.data.readers.h5_files import read_array
from tests.data import layouts
from tests.data.layouts import dataset, save


@pytest.fixture(autouse=True, name="most")
def _most():
    limits.set_most(0.001)  # a thousandth of a GB: a million bytes
    yield
    limits.set_most(limits.DEFAULT)


def nifti(path, shape=(500, 500, 8)):
    save(path, np.zeros(shape, np.uint8))
    return lambda: read_nifti(path)


def h5(path, shape=(500, 500, 8)):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", shape, "u1", chunks=(50, 50, 8))  # nothing of it is written
    return lambda: read_array(path, "image", "u")


def h5_of_large_chunks(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (5, 5, 5), "u1", chunks=(1000, 1000, 2), maxshape=(None,) * 3)
    return lambda: read_array(path, "image", "u")


def npz(path, shape=(2_000_000,)):
    np.savez_compressed(path, a=np.zeros(shape, np.uint8))
    return lambda: checkpoint.load_arrays(path)


MAKERS = {"x.nii.gz": nifti, "x.h5": h5, "chunks.h5": h5_of_large_chunks, "x.npz": npz}


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_that_unpacks_to_more_is_refused_before(tmp_path, name):
    read = MAKERS[name](tmp_path / name)
    assert os.path.getsize(tmp_path / name) < 20_000
    tracemalloc.start()
    with pytest.raises(DataError, match=f"{name}(.|\n)*more than the limit of 0.001 GB(.|\n)*Repeat with --max_gb=0.1"):
        read()
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()
    limits.set_most(0.1)
    if name != "x.npz":  # no file of ours
        read()


def test_the_limit_counts_32_bits_a_voxel(tmp_path):
    """Of 400 kB of bytes 1.6 MB of float32 are made."""
    read = nifti(tmp_path / "x.nii", (500, 400, 2))
    with pytest.raises(DataError, match=r"0.0016 GB are more than the limit of 0.001 GB"):
        read()
    nifti(tmp_path / "y.nii", (500, 400, 1))()


def test_own_files_are_not_packed_and_have_no_limit(tmp_path):
    checkpoint.save_arrays(tmp_path / "weights.npz", {"a": np.ones(2_000_000, np.uint8)})
    assert checkpoint.load_arrays(tmp_path / "weights.npz")[0]["a"].sum() == 2_000_000


def test_default_leaves_a_large_scan():
    limits.set_most(limits.DEFAULT)
    assert not limits.exceeded(1000 * 1000 * 600 * 2) and limits.exceeded(2000 * 2000 * 1000)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii", "x.h5", "x.npz"])
def test_what_is_no_file_is_refused_and_never_read(tmp_path, kind, name):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mknod(path, 0o140644)
    readers = {".h5": lambda: read_array(path, "image", "u"), ".npz": lambda: checkpoint.load_arrays(path)}
    with pytest.raises(DataError, match="a pipe, a socket or a device"):
        readers.get(path.suffix, lambda: read_nifti(path))()
    with pytest.raises(OSError, match="a pipe, a socket or a device"):
        files.sha256(path)


@pytest.mark.parametrize(
    "read",
    [files.read_json, paired_folders.read_info, lambda path: rowfile.open_rows(path, {}) or files.refuse_special(path)],
)
def test_a_pipe_in_place_of_a_table_is_refused(tmp_path, read):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises((DataError, OSError), match="a pipe, a socket or a device"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("with_cache", [False, True])
def test_a_pipe_among_the_scans_is_refused(tmp_path, with_cache):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    reader = get_reader(dataset("acdc"), tmp_path)
    cases = reader.cases()
    if with_cache:
        build_cache(reader, cases, with_label=True, progress=False)
    cases[0].image_path.unlink()
    os.mkfifo(cases[0].image_path)
    report = build_cache(reader, cases, with_label=True, progress=False)
    assert list(report.refused) == ["001_ED"] and "a pipe" in str(report.refused["001_ED"])


@pytest.mark.parametrize(
    "changes",
    [
        {"target_resolution": (0.001, 0.001)},
        {"target_resolution": (1e-300, 1e-300)},
        {"target_resolution": (1.5, 0.01)},
        {"img_size_x": 3_200_000},
        {"grid": "stretch", "img_size_y": 3_200_000},
    ],
    ids=str,
)
def test_a_grid_that_needs_too_much_is_refused_before(tmp_path, changes):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    reader = get_reader(dataset("acdc", **changes), tmp_path)
    with pytest.raises(ConfigError, match=r"GB are more than the limit of 0.001 GB \(--max_gb\)"):
        build_cache(reader, reader.cases(), with_label=True, progress=False)
