"""Named arrays and a record in one file, written so that a kill or a full disk never loses the last good one.

The format is NumPy's .npz (a zip file, so that every array carries a checksum) without pickled objects. The record also
lists the arrays, so that none can get lost, and holds a digest of itself and of them, so that none is exchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.core import done, files, later, limits
from fewslice.core.errors import DataError
from fewslice.core.files import atomic_path, sync_folder, to_json, writing_error

_RECORD = "record.json"
_NAMES = "names of the arrays"
_SUM = "sha256 of record and arrays"  # older files have none
_AFRESH = "without a copy, move the run or round that it belongs to elsewhere and repeat the command that wrote it."


def save_arrays(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any] | None = None
) -> None:
    """Writes `arrays` and `record` (values that JSON can hold) to `path`, atomically.

    Raises:
        FewSliceError: the file system refuses; the old file is unharmed.
        DataError: an array that they were made of is not what it should be.
    """
    later.settle()
    complete = {**(record or {}), _NAMES: sorted(arrays)}
    complete[_SUM] = _digest(complete, arrays)
    text = np.frombuffer(to_json(complete, indent=None).encode("utf-8"), np.uint8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{_RECORD: text}, **{name.replace("/", "|"): array for name, array in arrays.items()})


def load_arrays(
    path: str | os.PathLike, *, expected: str = "a weight file"
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads a file of `save_arrays`, verifying every checksum; `expected` is for the message where there is none.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        arrays = _read(Path(path))
        record = json.loads(arrays.pop(_RECORD).tobytes().decode("utf-8"))
        known = record.pop(_SUM, None)
        if known not in (None, _digest(record, arrays)):
            raise ValueError("its record or arrays were changed")
        if set(record.pop(_NAMES, arrays)) != set(arrays):
            raise ValueError("arrays are missing")
    except DataError:
        raise
    except FileNotFoundError as error:
        remedy = f"Restore it, or correct the path; {_AFRESH}"
        raise DataError(path, expected=expected, found="no such file", remedy=remedy) from error
    except PermissionError as error:
        raise files.unreadable(path, error) from error
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds, according to where the damage is
        found = f"a damaged file ({error or type(error).__name__})"
        remedy = f"Correct the path if this is another file; otherwise restore it; {_AFRESH}"
        raise DataError(path, expected="an intact checkpoint (.npz)", found=found, remedy=remedy) from error
    return arrays, record


def _digest(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(to_json(record, indent=None).encode("utf-8"))
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array)
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _read(path: Path) -> dict[str, np.ndarray]:
    """Reads every array to its last byte, since the checksum of a zip member is compared at its end only."""
    arrays = {}
    files.refuse_special(path)
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > path.stat().st_size:  # `save_arrays` packs nothing
            limits.check(path, size, "packed arrays")
        for member in archive.namelist():
            with archive.open(member) as content:
                array = np.lib.format.read_array(content, allow_pickle=False)
                if content.read(1):
                    raise ValueError(f"{member} holds more than an array")
            arrays[member.removesuffix(".npy").replace("|", "/")] = array
    return arrays


def load_weights(path: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Reads a weight file, and checks that it is that of the run or round in whose `checkpoints/` it lies, if any.

    Returns:
        Arrays, record and SHA-256 of the file. The log says so if nothing vouches for it.

    Raises:
        DataError: it is missing, damaged, or of another run or step.
    """
    (arrays, record), sha256, places = load_arrays(path), files.sha256(path), path.absolute().parents
    if places[0].name != "checkpoints":
        return arrays, record, sha256
    config = done.read_config(places[1] / "config.json") if (places[1] / "config.json").exists() else {}
    marked = places[1] if (places[1] / done.NAME).exists() else places[1:3][-1]  # a run; or a round, of its members
    finished = done.read(marked)
    known = finished.get(done.SUMS, {}).get(path.absolute().relative_to(marked).as_posix())
    step = finished.get({done.BEST: "best_step", done.LAST: "n_iter"}.get(path.name))
    check_owner(path, record, config.get("digest"), step=None if known == sha256 else step)
    if known not in (None, sha256):
        raise _foreign(path, "another file than when it was finished")
    if known is None and "run" not in record and config:
        logging.info("Nothing vouches for %s: it is from before there were checksums.", path)
    return arrays, record, sha256


def check_owner(path: Path, record: Mapping[str, Any], owner: str | None, **known: Any) -> None:
    """Refuses, with `DataError`, weights whose record names another run (`owner`) or other values such as `step`.

    What is None, or what the record of an older version lacks, is not compared.
    """
    expected = {"run": owner, **known}
    wrong = [f"{name} {record[name]} and not {value}" for name, value in expected.items()
             if value is not None and record.get(name, value) != value]  # fmt: skip
    if wrong:
        raise _foreign(path, f"those of {', '.join(wrong)}")


def _foreign(path: Path, found: str) -> DataError:
    remedy = "Put the run's own file back. Without a copy, its command with --noresume trains the same network again."
    return DataError(path, expected="the weights that this run wrote", found=found, remedy=remedy)


def save_state(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Like `save_arrays`, but keeps the file that was there before beside it until the next call."""
    path = Path(path)
    staged = path.with_name("next." + path.name)
    save_arrays(staged, arrays, record)
    try:
        if path.exists():
            os.replace(path, _previous(path))
        os.replace(staged, path)
        sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error) from error


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
            remedy=f"Restore one of them. Without a copy, move the folder {Path(path).parent} elsewhere, which keeps "
            "its weights, and repeat the command: this training starts afresh.",
        )
    return None


def _previous(path: Path) -> Path:
    return path.with_name(path.stem + ".previous" + path.suffix)
