"""A lock on a folder, so that two processes do not write the same files at the same time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from fewslice.core.errors import FewSliceError
from fewslice.core.files import LOCKS, fcntl, writing_error


@contextlib.contextmanager
def folder_lock(folder: Path, *, refusal: str = "") -> Iterator[None]:
    """Holds the lock of `folder`, which is created if it is missing.

    The lock belongs to the open file, so it ends with the process, whatever way that ends. Where the system or the file
    system has no locks, a warning says so. While it is held, `files` refuses to write there if the folder vanishes.

    Args:
        refusal: The message if another process holds the lock; "" waits until it is free.

    Raises:
        FewSliceError: the folder cannot be written, or the lock is not free (`refusal`).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a")
    except OSError as error:
        raise writing_error(folder, error) from error
    with file:
        try:
            if fcntl is None:
                raise OSError("not a POSIX system")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if refusal:
                raise FewSliceError(refusal) from error
            logging.warning("Another process prepares %s. Waiting until it is done.", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            logging.warning("There are no file locks here (%s). Do not use %s twice at a time.", error, folder)
        path = folder.absolute() / ".lock"
        LOCKS[path] = os.fstat(file.fileno()).st_ino
        try:
            yield
        finally:
            LOCKS.pop(path, None)
