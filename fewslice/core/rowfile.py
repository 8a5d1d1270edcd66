"""Rows of a large array, written batch by batch into a .npy file that is complete or absent, and mapped into memory.

Beside it lies a .json that says what the rows were made of, with a checksum of them; the mark of an unfinished file has
one, too. The space of a file is taken before it is mapped: on a full disk writing to a map kills the process.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from absl import logging

from fewslice.core import files, later
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.progress import Progress

SAVE_EVERY = 20  # blocks between two marks of how far it is
CHECKSUM = "sha256 of the rows"
_BLOCK, _ROWS = 1 << 20, 64


def write_rows(
    path: str | os.PathLike,
    count: int,
    blocks: Callable[[int], Iterable[np.ndarray]],
    *,
    dtype: str = "float32",
    key: Mapping[str, Any] | None = None,
    title: str = "Writing",
) -> np.ndarray:
    """Returns the rows memory-mapped, after writing those that are missing. In memory is one block.

    Args:
        blocks: Number of the first row -> blocks (n, ...) of the rows from there on.
        key: Everything that the rows are made of, as JSON values; stands beside the file as .json. A finished file of
            the same key is opened again, an unfinished one is continued, a damaged one is written anew. None: they are
            written anew.

    Raises:
        ConfigError: another file name; no row.
        RuntimeError: fewer rows than said.
        FewSliceError: values that are not finite in this dtype; the file system refuses.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ConfigError(f"The file must end in .npy. Received: {path}")
    if count < 1:
        raise ConfigError("The pool holds no unit.")
    partial, mark = path.with_suffix(".partial.npy"), path.with_suffix(".partial.json")
    try:
        array = None if key is None else open_rows(path, key)
        if array is None:
            try:
                checksum = _write(partial, mark, count, blocks, dtype=dtype, key=key, title=title)
            except BaseException:
                if key is None:
                    partial.unlink(missing_ok=True)
                raise
            later.settle()
            path.unlink(missing_ok=True)
            if key is not None:
                files.write_json(path.with_suffix(".json"), {**key, CHECKSUM: checksum})
            os.replace(partial, path)
            files.sync_folder(path.parent)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        mark.unlink(missing_ok=True)  # also where a kill came right before it
    except OSError as error:
        raise files.writing_error(path, error) from error
    return array


def open_rows(path: Path, key: Mapping[str, Any]) -> np.ndarray | None:
    """Returns a file memory-mapped if the .json beside it has this key and vouches for it, else None; logs damage."""
    if not path.exists():
        return None
    try:
        files.refuse_special(path)
        found = files.read_json(path.with_suffix(".json"))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        checksum = found.pop(CHECKSUM, "")
        if found == key and checksum == hash_of(array).hexdigest():
            return array
        is_damaged = found == key
    except (OSError, ValueError, EOFError, TypeError, AttributeError, FewSliceError):
        is_damaged = True
    if is_damaged:
        logging.warning("%s is damaged, or no checksum vouches for it: it is written again.", path)
    return None


def new_map(path: Path, dtype: np.dtype | str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a new .npy file mapped for writing, whose space is taken. Raises `OSError` on a full disk."""
    try:
        array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        with open(path, "r+b") as file:
            _take_space(file, array.offset)
    except OSError:
        path.unlink(missing_ok=True)  # so that what there is of space is free again
        raise
    return array


def _take_space(file: BinaryIO, first: int) -> None:
    """Makes the file system provide all blocks of a file; where it cannot be asked for that, by zeros from `first`."""
    size = os.fstat(file.fileno()).st_size
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) not in (None, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        file.seek(first)
        for start in range(first, size, _BLOCK):
            file.write(bytes(min(_BLOCK, size - start)))
        file.flush()
        os.fsync(file.fileno())


def hash_of(array: np.ndarray, rows: int | None = None) -> Any:
    """Returns the SHA-256 of an array's type, shape and first `rows` rows (None: all)."""
    checksum, array = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode()), array[:rows]
    for start in range(0, len(array), _ROWS):
        checksum.update(np.ascontiguousarray(array[start : start + _ROWS]))
    return checksum


def _write(partial: Path, mark: Path, count: int, blocks: Callable, *, dtype: str, key: Any, title: str) -> str:
    """Returns the checksum of all rows."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    done, array, checksum = _resumed(partial, mark, count, dtype, key)
    with Progress(count, title) as line:
        line.update(done)
        for number, block in enumerate(blocks(done), 1):
            rows = np.asarray(block).reshape(len(block), -1)
            if array is None:
                mark.unlink(missing_ok=True)
                array = new_map(partial, dtype, (count, rows.shape[1]))
                checksum = hash_of(array, 0)
            with np.errstate(over="ignore"):
                array[done : done + len(rows)] = rows
            bad = np.flatnonzero(~np.isfinite(array[done : done + len(rows)]).all(axis=1))
            if len(bad):
                raise FewSliceError(
                    f"The values of unit {done + bad[0]} of the pool are not finite in {dtype}. Look at its image, or "
                    "train the network with a lower learning rate."
                )
            checksum.update(array[done : done + len(rows)])
            done += len(rows)
            line.update(len(rows))
            if key is not None and (number % SAVE_EVERY == 0 or done == count):
                array.flush()
                later.settle()
                files.write_json(mark, {**key, "done": done, CHECKSUM: checksum.hexdigest()})
    if done != count:
        raise RuntimeError(f"There are {done} rows for the {count} that were announced.")
    array.flush()
    return checksum.hexdigest()


def _resumed(
    partial: Path, mark: Path, count: int, dtype: str, key: Mapping[str, Any] | None
) -> tuple[int, np.ndarray | None, Any]:
    """Returns how many rows an unfinished file of the same key holds, the file and the hash of these rows.

    0, None and None if there is none that is whole.
    """
    try:
        found = files.read_json(mark)
        done, expected = int(found.pop("done")), found.pop(CHECKSUM)
        array = np.load(partial, mmap_mode="r+", allow_pickle=False)
        if key is not None and found == key and len(array) == count and array.dtype == dtype:
            checksum = hash_of(array, done)
            if checksum.hexdigest() == expected:
                return done, array, checksum
            logging.warning("%s is damaged: it is begun anew.", partial)
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, FewSliceError):
        pass
    return 0, None, None
