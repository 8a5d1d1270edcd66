"""A lock on a folder, so that two processes do not prepare the same files at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from fewslice.core.files import writing_error

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the lock of `folder` (created if missing), waiting for another process if necessary.

    The lock belongs to the open file, so it ends with the process, whatever way that ends.

    Raises:
        FewSliceError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")
    except OSError as error:
        raise writing_error(folder, error) from error
    with file:
        if fcntl is None:
            logging.warning("This system has no file locks. Do not prepare %s twice at a time.", folder)
        else:
            _acquire(file, folder)
        yield


def _acquire(file, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.warning("Another process prepares %s. Waiting until it is done.", folder)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        logging.warning(
            "This file system has no locks (%s). Do not prepare %s twice at a time.", error.strerror, folder
        )
