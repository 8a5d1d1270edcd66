"""Named arrays and a record in one file, written so that a kill or a full disk never loses the last good one.

The format is NumPy's .npz (a zip file, so that every array carries a checksum) without pickled objects.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.errors import DataError
from fewslice.files import atomic_path, to_json

_RECORD = "record.json"
PREVIOUS = ".previous"


def save_arrays(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any] | None = None
) -> None:
    """Writes `arrays` and `record` (values that JSON can hold) to `path`, atomically.

    Raises:
        FewSliceError: the file system refuses; the old file is unharmed.
    """
    text = np.frombuffer(to_json(record or {}, indent=None).encode("utf-8"), np.uint8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{_RECORD: text}, **{name.replace("/", "|"): array for name, array in arrays.items()})


def load_arrays(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `save_arrays` wrote, verifying every checksum.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.replace("|", "/"): archive[name] for name in archive.files if name != _RECORD}
            record = json.loads(archive[_RECORD].tobytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            path,
            expected="a weight file",
            found="nothing",
            remedy="Run the stage that writes it, or correct the path.",
        ) from error
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise DataError(
            path,
            expected="an intact checkpoint (.npz)",
            found=f"a damaged file ({error})",
            remedy="Delete it and repeat the command that wrote it.",
        ) from error
    return arrays, record


def save_state(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Like `save_arrays`, but keeps the file that was there before beside it until the next call."""
    path = Path(path)
    staged = path.with_name("next." + path.name)
    save_arrays(staged, arrays, record)
    if path.exists():
        os.replace(path, _previous(path))
    os.replace(staged, path)


def load_state(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]] | None:
    """Reads the newest intact state: the file itself, else the one kept before it.

    Returns:
        Arrays, record and what was found damaged on the way; None if nothing was ever saved.

    Raises:
        DataError: states exist, but none is intact.
    """
    damaged = []
    for candidate in (Path(path), _previous(Path(path))):
        if not candidate.exists():
            continue
        try:
            return *load_arrays(candidate), damaged
        except DataError as error:
            damaged.append(f"{candidate.name}: {error.found}")
    if damaged:
        raise DataError(
            path,
            expected="an intact training state",
            found="; ".join(damaged),
            remedy="Start the stage afresh with --noresume.",
        )
    return None


def _previous(path: Path) -> Path:
    return path.with_name(path.stem + PREVIOUS + path.suffix)
