"""The most that one file may unpack to and one volume may take; more is refused before it is taken."""

from __future__ import annotations

import os

from fewslice.core.errors import DataError

FLAG = "max_gb"
HELP = "Most memory that the content of one file, or one prepared volume, may take, in GB (10^9 bytes)."
DEFAULT = 2.5  # a CT of 1000 x 1000 x 600 voxels has 1.2 in the file and 2.4 as float32
_most = [DEFAULT]


def set_most(gigabytes: float) -> None:
    """Sets the limit, of `--max_gb`."""
    _most[0] = gigabytes


def exceeded(size: float) -> str:
    """Returns a sentence on limit and flag if so many bytes exceed the limit, else ""."""
    needed = size / 1e9
    if needed <= _most[0]:
        return ""
    return f"{needed:.3g} GB are more than the limit of {_most[0]:g} GB (--{FLAG})"


def check(path: str | os.PathLike, size: float, what: str, *, on_disk: int | None = None) -> None:
    """Refuses, with `DataError`, a file (or a folder of `on_disk` bytes) that unpacks to more bytes than the limit."""
    if found := exceeded(size):
        on_disk = os.path.getsize(path) if on_disk is None else on_disk
        raise DataError(
            path,
            expected=f"a content within the limit ({on_disk} bytes on the disk)",
            found=f"{what}: {found}",
            remedy=f"Right? Repeat with --{FLAG}={size / 1e9 + 0.1:.1f}. Otherwise get a fresh copy, or leave it out.",
        )
