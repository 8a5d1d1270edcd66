"""Folders and files that the system refuses to open or to list, reported like all other mistakes in data."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from fewslice.core import files
from fewslice.core.errors import DataError, few, is_utf8

_RIGHTS = "Give yourself the right to read it (chmod, chown); for a folder the right to enter it too."
_DRIVE = "The disk or the network drive fails or is not connected. Mend it, or copy the scans to another one."
_REMEDIES = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: "A part of this path is a file. Correct the path.",
    errno.ENOENT: "It vanished or is a broken link. Put it back and repeat the command.",
    errno.ENODEV: "Put the file itself there, or leave the case out.",
    errno.ELOOP: "Its links lead in a circle. Mend them.",
    errno.EIO: _DRIVE,
    errno.ESTALE: _DRIVE,
    errno.ENOTCONN: _DRIVE,
    errno.ETIMEDOUT: _DRIVE,
}


@contextlib.contextmanager
def readable(path: str | os.PathLike) -> Iterator[None]:
    """Turns an `OSError` of the block into a `DataError` about the file that it names, or else about `path`.

    Raises:
        DataError: the system refused to list a folder or to open or read a file; `path` is a pipe or a device.
    """
    try:
        files.refuse_special(path)
        yield
    except OSError as error:
        raise access_error(error, path) from error


def absence(path: str | os.PathLike) -> tuple[str, str]:
    """Returns what is found in place of a file that does not exist, nothing or a link, and the remedy."""
    if os.path.islink(path):
        remedy = "Fetch the file that it stands for (git annex get, datalad get, dvc pull), or mend the link."
        return f"a link to {os.readlink(path)}, which is not there", remedy
    return "nothing: there is no such file", "Check the path and the name."


def access_error(error: OSError, path: str | os.PathLike) -> DataError:
    """Returns the message for a refusal of the system; `path` serves where the error names no file."""
    path = error.filename if isinstance(error.filename, (str, os.PathLike)) else path
    found = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno, "Mend the cause (disk, network, links) and repeat the command.")
    if error.errno == errno.ENOENT and os.path.islink(path):
        found, remedy = absence(path)
    return DataError(path, expected="a file or folder that can be read", found=found, remedy=remedy)


def visible(folder: Path) -> list[Path]:
    """Returns the entries of a folder, sorted, without hidden ones (temporary files, `._*` of archives).

    Raises:
        DataError: a name that is no UTF-8 or has line breaks, which no table, list or log could hold.
    """
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    strange = [name for path in found if not is_utf8(name := path.name) or len(name.splitlines()) > 1]
    if strange:
        names = few([repr(os.fsencode(name)) for name in strange], 3)
        found = f"{len(strange)} with a line break, or in another encoding (bytes after \\x): {names}"
        remedy = "Rename them with plain letters and digits, image and label alike (convmv renames whole folders)."
        raise DataError(folder, expected="file names of one line in UTF-8", found=found, remedy=remedy)
    return found
