"""DONE: the mark of a finished run or round, with the checksums of the files that hold its results.

    {"n_iter": 100, "test_dice": 0.8, "sha256": {"config.json": "...", "eval/per_volume.csv": "..."}, "digest": "..."}

`digest` vouches for the rest of DONE itself. Runs from before there were checksums have neither; they are read as they
are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fewslice.core import files
from fewslice.core.errors import DataError

NAME, SUMS, _DIGEST = "DONE", "sha256", "digest"
STATE, BEST, LAST = "state.npz", "best.npz", "last.npz"  # in the checkpoints/ of a training
FACTS = "report"  # table of config.json that is no setting
# In DONE of a training: mean Dice of the test volumes by the best and by the last weights, and the steps after which it
# was tested; no such entries as long as the test volumes are sealed.
TESTED, TESTED_LAST, TESTED_AFTER = "test_dice", "test_dice_last", "tested_after"
_NOT_IN_DIGEST = ("n_iter", _DIGEST, FACTS)
OF_ROUND = (
    "Restore it. Without a copy, move it and DONE of this round elsewhere and repeat the experiment's command, which "
    "makes what is missing and keeps the rest."
)
REMEDY = "Restore it; or repeat the command of the run (command.txt), which makes it again from what is saved."


def write(folder: Path, record: Mapping[str, Any], patterns: Iterable[str]) -> None:
    """Marks a folder as finished, with a record and the checksums of the files that fit `patterns`."""
    record = {**record, SUMS: sums(folder, patterns)}
    files.write_json(folder / NAME, {**record, _DIGEST: files.digest(record)})


def sums(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """Returns the checksums of the files in a folder that fit `patterns`, by name."""
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}


def read(folder: Path, *, remedy: str = REMEDY, **needs: type) -> dict[str, Any]:
    """Returns the record of a folder, {} if it is not finished.

    Raises:
        DataError: DONE cannot be read, is no table with `needs` (name -> type), or was changed.
    """
    if not (folder / NAME).exists():
        return {}
    record = files.read_record(folder / NAME, needs, remedy=remedy)
    rest = {name: value for name, value in record.items() if name != _DIGEST}
    if record.get(_DIGEST, files.digest(rest)) != files.digest(rest):
        raise changed(folder / NAME, "another content than when it was written", remedy)
    for name, value in files.checked(record.get(SUMS, {}), dict, folder / NAME, remedy, SUMS).items():
        files.checked(value, str, folder / NAME, remedy, f"{SUMS}/{name}")
    return record


def problems(folder: Path, *, remedy: str = REMEDY, but: tuple[str, ...] = ()) -> dict[str, DataError]:
    """Compares the files of a finished folder with their checksums, but those that end in one of `but`.

    Returns file -> what is wrong with it: missing, not readable, or changed; DONE itself may be among them.
    """
    try:
        return differing(folder, read(folder, remedy=remedy).get(SUMS, {}), remedy, but)
    except DataError as error:
        return {NAME: error}


def differing(folder: Path, known: Mapping[str, str], remedy: str, but: tuple[str, ...] = ()) -> dict[str, DataError]:
    """Returns file -> what is wrong with it, of the files whose checksums are `known`; see `problems`."""
    found: dict[str, DataError] = {}
    for name, expected in known.items():
        path = folder / name
        try:
            if not name.endswith(but or "\0") and files.sha256(path) != expected:
                found[name] = changed(path, "another content than when it was finished", remedy)
        except OSError as error:
            text = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
            found[name] = changed(path, text, remedy)
    return found


def read_config(path: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """Returns config.json of a run.

    Raises:
        DataError: it is missing, is no table, or was changed, as its digest or DONE beside it says.
    """
    config, known = files.read_record(path, remedy=remedy), read(path.parent).get(SUMS, {}).get(path.name)
    if known and files.sha256(path) != known:
        raise changed(path, "another content than when it was finished", remedy)
    settings = {name: value for name, value in config.items() if name not in _NOT_IN_DIGEST}
    if config.get(_DIGEST, digest := files.digest(settings)) != digest:
        expected, found = f"the settings with the digest {config[_DIGEST]}", "others: it was changed"
        raise DataError(path, expected=expected, found=found, remedy=remedy)
    return config


def changed(path: Path, found: str, remedy: str) -> DataError:
    return DataError(path, expected="the file as this program wrote it", found=found, remedy=remedy)


def tidy(run: str | os.PathLike) -> int:
    """Removes the training states of a finished run and returns their bytes; nothing of one that is not finished.

    Weights, logs and results stay, and the run can be used by later stages, but its training cannot be continued.
    """
    size = 0
    for path in states(run) if (Path(run) / NAME).exists() else ():
        size += path.stat().st_size
        path.unlink()
    return size


def states(run: str | os.PathLike) -> list[Path]:
    """Returns the files that only a continued training needs."""
    return sorted(Path(run).rglob("checkpoints/*state*.npz"))
