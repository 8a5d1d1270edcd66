"""What a round of pseudo-labels has finished, volume by volume: a round that was killed goes on at the next volume.

    round_00/parts/
      <case>.json  the volume's key and row; written after its arrays, so it vouches for them
      <case>.npy   (2, Z, NX, NY) uint8, of the volumes of the gallery only: classes before and after refinement

A part is taken over if nothing that its row and arrays depend on has changed (the key) and all its files are as they
were written (checksums). In any other case it does not count, and its volume is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewslice.core import files
from fewslice.core.errors import FewSliceError

if TYPE_CHECKING:
    from fewslice.data.cache import PreparedVolume

FORMAT = 1  # raise it when the making of pseudo-labels or this format changes, so that older parts are not used
FOLDER = "parts"
KINDS = {"labels": "sha256", "confidence": "confidence_sha256"}  # folder -> its column in a volume's record
_LENGTH = 64  # hexadecimal digits: a whole SHA-256


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A finished volume.

    Attributes:
        row: Its entry in the round's record, with the checksums of its arrays.
        shown: Classes before and after refinement, each (Z, NX, NY) uint8, if the gallery shows it; else None.
    """

    row: dict[str, Any]
    shown: np.ndarray | Sequence[np.ndarray] | None


def key_of(volume: PreparedVolume, truth: np.ndarray | None, about: Mapping[str, Any]) -> str:
    """Returns a digest of all that a part depends on.

    Args:
        volume: The volume; its image counts by its content.
        truth: (Z, NX, NY) true labels for the statistics, or None.
        about: What else counts: teacher, settings, place in the round, whether the gallery shows it.
    """
    content = {"image": _content(volume.image), "truth": None if truth is None else _content(truth)}
    names = {"case_id": volume.case.case_id, "patient_id": volume.case.patient_id}
    return files.digest({"format": FORMAT, **names, **content, "about": about}, _LENGTH)


def _content(array: np.ndarray) -> list[Any]:
    return [array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array)).hexdigest()]


def take_or_make(
    folder: Path,
    case_id: str,
    key: str,
    *,
    make: Callable[[], tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray | None]],
    is_shown: bool,
) -> Part:
    """Returns the part of a volume as an earlier attempt left it, or else makes and writes it.

    Args:
        folder: Of the round.
        case_id: Of the volume.
        key: See `key_of`.
        make: Returns its row, its classes before and after refinement, and their confidences or None.
        is_shown: Whether the gallery shows it.

    Raises:
        FewSliceError: the file system refuses.
    """
    part = _read(folder, case_id, key)
    if part is not None:
        return part
    row, before, after, certainty = make()
    return _write(folder, key, row, (after, certainty), shown=(before, after) if is_shown else None)


def _write(
    folder: Path,
    key: str,
    row: Mapping[str, Any],
    arrays: tuple[np.ndarray, np.ndarray | None],
    *,
    shown: tuple[np.ndarray, np.ndarray] | None,
) -> Part:
    """Writes the arrays of a volume, if it was accepted, and then its part.

    Args:
        folder: Of the round.
        key: See `key_of`.
        row: Entry of the volume, without checksums.
        arrays: Labels (Z, NX, NY) uint8, and their confidences or None.
        shown: See `Part`.

    Raises:
        FewSliceError: the file system refuses.
    """
    row, record = dict(row), {"key": key}
    if row["accepted"]:
        for (kind, column), array in zip(KINDS.items(), arrays, strict=True):
            if array is not None:
                path = folder / kind / f"{row['case_id']}.npy"
                files.write_array(path, array)
                row[column] = files.sha256(path)
    if shown is not None:
        memory = io.BytesIO()
        np.save(memory, np.stack(shown), allow_pickle=False)
        files.write_bytes(folder / FOLDER / f"{row['case_id']}.npy", memory.getbuffer())
        record["shown_sha256"] = hashlib.sha256(memory.getbuffer()).hexdigest()
    record["row"] = row
    record["digest"] = files.digest(record, _LENGTH)
    files.write_json(folder / FOLDER / f"{row['case_id']}.json", record)
    return Part(row, shown)


def _read(folder: Path, case_id: str, key: str) -> Part | None:
    """Reads the part of a volume; None if there is none that is whole, of this key and with its arrays."""
    try:
        record = files.read_json(folder / FOLDER / f"{case_id}.json")
        if record.pop("digest") != files.digest(record, _LENGTH) or record["key"] != key:
            return None
        row = record["row"]
        sums = {folder / kind / f"{case_id}.npy": row[column] for kind, column in KINDS.items() if column in row}
        shown = folder / FOLDER / f"{case_id}.npy" if "shown_sha256" in record else None
        if shown is not None:
            sums[shown] = record["shown_sha256"]
        if any(files.sha256(path) != checksum for path, checksum in sums.items()):
            return None
        return Part(row, None if shown is None else np.load(shown, allow_pickle=False))
    except (OSError, FewSliceError, ValueError, TypeError, KeyError, AttributeError):  # missing or damaged
        return None


def tidy(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Removes what a complete round does not consist of, as far as the file system lets it; the rest is harmless.

    That is: arrays that other attempts wrote, and halves of files.
    """
    for kind, column in KINDS.items():
        kept = {f"{row['case_id']}.npy" for row in rows if column in row}
        if not kept:
            shutil.rmtree(folder / kind, ignore_errors=True)
        for path in (folder / kind).glob("*"):
            if path.name not in kept:
                _unlink(path)
    for path in folder.glob(".*.tmp*"):
        _unlink(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def remove(folder: Path) -> None:
    """Removes the parts of a round whose record is written. What is left of them is harmless."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
