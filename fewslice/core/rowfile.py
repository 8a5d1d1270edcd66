"""Rows of a large array, written batch by batch into a .npy file that is complete or absent, and mapped into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.core import files
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.progress import Progress

SAVE_EVERY = 20  # blocks between two marks of how far it is


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
        path: The file, ending in .npy.
        count: Rows.
        blocks: Number of the first row -> blocks (n, ...) of the rows from there on.
        dtype: Of the file.
        key: Everything that the rows are made of, as JSON values; stands beside the file as .json. A finished file of
            the same key is opened again, an unfinished one is continued. None: they are written anew.
        title: Of the progress line.

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
        if not _is_finished(path, key):
            try:
                _write(partial, mark, count, blocks, dtype=dtype, key=key, title=title)
            except BaseException:
                if key is None:
                    partial.unlink(missing_ok=True)
                raise
            path.unlink(missing_ok=True)
            if key is not None:
                files.write_json(path.with_suffix(".json"), key)
            os.replace(partial, path)
            files.sync_folder(path.parent)
        mark.unlink(missing_ok=True)  # also where a kill came right before it
    except OSError as error:
        raise files.writing_error(path, error) from error
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write(partial: Path, mark: Path, count: int, blocks: Callable, *, dtype: str, key: Any, title: str) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    done, array = _resumed(partial, mark, count, dtype, key)
    with Progress(count, title) as line:
        line.update(done)
        for number, block in enumerate(blocks(done), 1):
            rows = np.asarray(block).reshape(len(block), -1)
            if array is None:
                mark.unlink(missing_ok=True)
                array = np.lib.format.open_memmap(partial, "w+", np.dtype(dtype), (count, rows.shape[1]))
            with np.errstate(over="ignore"):
                array[done : done + len(rows)] = rows
            bad = np.flatnonzero(~np.isfinite(array[done : done + len(rows)]).all(axis=1))
            if len(bad):
                raise FewSliceError(
                    f"The values of unit {done + bad[0]} of the pool are not finite in {dtype}. Look at its image, or "
                    "train the network with a lower learning rate."
                )
            done += len(rows)
            line.update(len(rows))
            if key is not None and (number % SAVE_EVERY == 0 or done == count):
                array.flush()
                files.write_json(mark, {**key, "done": done})
    if done != count:
        raise RuntimeError(f"There are {done} rows for the {count} that were announced.")
    array.flush()


def _is_finished(path: Path, key: Mapping[str, Any] | None) -> bool:
    try:
        return key is not None and path.exists() and files.read_json(path.with_suffix(".json")) == key
    except OSError:
        return False


def _resumed(
    partial: Path, mark: Path, count: int, dtype: str, key: Mapping[str, Any] | None
) -> tuple[int, np.ndarray | None]:
    """Returns how many rows an unfinished file of the same key holds, and the file; 0 and None if there is none."""
    try:
        found = files.read_json(mark)
        done = found.pop("done")
        array = np.load(partial, mmap_mode="r+", allow_pickle=False)
        if key is not None and found == key and len(array) == count and array.dtype == dtype:
            return int(done), array
    except (OSError, ValueError, KeyError):
        pass
    return 0, None
