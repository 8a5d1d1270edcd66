"""Writing files so that a kill, a full disk or a crash never harms what was there before.

Every writer of the project goes through `atomic_path`: write beside the target, flush, fsync, rename, fsync the folder.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewslice.core.errors import DataError, FewSliceError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EROFS, errno.EPERM}
_NOT_FOR_FOLDERS = {errno.EINVAL, errno.ENOTSUP}
LOCKS: dict[Path, int] = {}  # lock file that this process holds -> its inode


def writing_error(path: Path, error: OSError) -> FewSliceError:
    """Returns the message for a failed write: what could not be written, why, what is unharmed, what to do."""
    if vanished := _vanished(path):
        return vanished
    if error.errno in _NO_SPACE:
        remedy = "Free some space (or raise the quota) and repeat the same command; it continues where it stopped."
    elif error.errno in _NO_PERMISSION:
        is_settings = Path(path).name.startswith(("init_", "data_cfg_"))
        choose = "--output_dir, FEWSLICE_EXPERIMENTS" if is_settings else "--runs_dir, FEWSLICE_DATA"
        remedy = f"Make the folder writable or choose another one ({choose}), then repeat the command."
    else:
        remedy = "Mend the cause and repeat the same command."
    return FewSliceError(
        f"Cannot write {path}: {error.strerror or error}. Nothing that was already written is harmed. {remedy}"
    )


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path` that replaces `path` when the block ends without an error.

    The temporary file keeps the suffix of `path`, since libraries choose formats by it. It is locked while it is
    written, so that the next writer of `path` removes those that killed processes left, and no other.

    Raises:
        FewSliceError: the file system refuses (disk full, read-only, file-size limit). The old file is unharmed.
    """
    path = Path(path)
    temporary = handle = None
    if vanished := _vanished(path):
        raise vanished
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        prefix, suffix = f".{path.name[:40]}.", f".tmp{suffix}"
        _remove_halves(path.parent, prefix, suffix)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        temporary = Path(name)
        _is_free(handle)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _remove_halves(folder: Path, prefix: str, suffix: str) -> None:
    """Removes what killed processes left of a file, where the system has locks that tell it from a living writer's."""
    with contextlib.suppress(OSError):
        for half in os.scandir(folder):
            if half.name.startswith(prefix) and half.name.endswith(suffix):
                with open(half, "rb+") as file:
                    if _is_free(file.fileno()):
                        os.unlink(half)


def _is_free(handle: int) -> bool:
    """Locks an open file for this process; whether that was possible."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, AttributeError):  # another's, or no locks here
        return False
    return True


def _vanished(path: Path) -> FewSliceError | None:
    """Returns the message for a path in a folder that this process has locked and that was removed or replaced since.

    Writing there would make a new folder that lacks what was written before.
    """
    for lock, inode in LOCKS.items():
        if lock.parent in path.absolute().parents and not (lock.exists() and lock.stat().st_ino == inode):
            return FewSliceError(
                f"{lock.parent} was removed, moved or replaced while this process was working in it; it stops, and "
                "writes no more. Put the folder back, or leave it as it is, and repeat the same command."
            )
    return None


def sync_folder(folder: Path) -> None:
    """Brings the names of a folder to the disk, so that a power cut does not undo a rename.

    Raises:
        OSError: the disk refuses. File systems that cannot do this for folders are left in peace.
    """
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, content: str) -> None:
    """Writes `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_array(path: str | os.PathLike, array: Any) -> None:
    """Writes a NumPy array to `path` (.npy) atomically."""
    import numpy as np

    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def _json_value(value: Any) -> Any:
    """Replaces what JSON cannot hold: NaN and infinities become None, tuples lists, paths and NumPy scalars plain."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json_value(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _json_value(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Returns `value` as strict JSON with sorted keys; NaN and infinities become null."""
    return json.dumps(_json_value(value), indent=indent, sort_keys=True, allow_nan=False, ensure_ascii=False)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` to `path` atomically as strict, sorted JSON."""
    write_text(path, to_json(value) + "\n")


_DAMAGED = "The file is damaged. Restore it, or repeat the command that wrote it."


def read_json(path: str | os.PathLike, *, remedy: str = _DAMAGED) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: there is none.
        DataError: it cannot be read, or is no JSON; the message has the line.
    """
    try:
        refuse_special(path)
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise unreadable(path, error) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, a number without end
        found = f"no valid JSON: {error}"
        raise DataError(path, expected="a file in JSON", found=found, remedy=remedy) from error


def unreadable(path: str | os.PathLike, error: OSError) -> DataError:
    """Returns the message for a file that the system refuses."""
    remedy = "Make it and its folder accessible for you (chmod, chown)."
    if error.errno not in (None, *_NO_PERMISSION):
        remedy = "Put the file itself there, or move what is there elsewhere, and repeat the command."
    found = error.strerror or "no permission"
    return DataError(path, expected="a file that you may use", found=found, remedy=remedy)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON")


def read_record(
    path: str | os.PathLike, needs: Mapping[str, type] | None = None, *, remedy: str = _DAMAGED
) -> dict[str, Any]:
    """Reads a table of one of our own JSON files, which has values of these types (name -> type).

    Raises:
        DataError: it is missing, cannot be read, or is something else; with `remedy`.
    """
    try:
        record = checked(read_json(path, remedy=remedy), dict, path, remedy)
    except FileNotFoundError as error:
        raise DataError(path, expected="a table in JSON", found="no such file", remedy=remedy) from error
    for name, kind in (needs or {}).items():
        checked(record.get(name), kind, path, remedy, name)
    return record


def checked(value: Any, kind: type, path: str | os.PathLike, remedy: str = _DAMAGED, name: str = "") -> Any:
    """Returns what a JSON file holds, or its value `name`, if it is of this type; else raises `DataError`."""
    kinds = (int, float) if kind is float else kind
    if isinstance(value, kinds) and not isinstance(value, bool) and value not in (math.inf, -math.inf):
        return value
    words = {dict: "a table", list: "a list", str: "a text", int: "a whole number", float: "a number"}
    expected = f"{words[kind]}{f' `{name}`' if name else ''} in JSON"
    shown = "null" if value is None else {dict: "a table", list: "a list"}.get(type(value), repr(value)[:60])
    raise DataError(path, expected=expected, found=shown, remedy=remedy)


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Writes `rows` to `path` atomically. Missing values and NaN become empty cells; `columns` default to all keys."""
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if isinstance(v, float) and math.isnan(v) else v for key, v in row.items()})
    write_text(path, text.getvalue())


def refuse_special(path: str | os.PathLike) -> None:
    """Raises `OSError` for a pipe, a socket or a device, of which reading may never end."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.ENODEV, "a pipe, a socket or a device", os.fspath(path))


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    refuse_special(path)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def digest(value: Any, length: int = 10) -> str:
    """Returns the first `length` hexadecimal digits of the SHA-256 of `value` as JSON."""
    return hashlib.sha256(to_json(value, indent=None).encode("utf-8")).hexdigest()[:length]
