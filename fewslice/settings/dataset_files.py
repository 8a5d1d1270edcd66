"""Finding and running the files `init_<name>.py` and `data_cfg_<name>.py` that a user edits.

The folder is `experiment_init/` of the checkout, or the one that the environment variable
FEWSLICE_EXPERIMENTS names.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import itertools
import os
import re
import tokenize
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

_NAME = re.compile(r"init_([A-Za-z0-9][A-Za-z0-9_]*)\.py")
_DEEPEST = 10  # tuples, lists and dicts within each other
_MOST_VALUES = 1_000_000
_LARGEST_BITS = 63  # of a whole number


def checkout() -> Path:
    """Returns the folder that holds `fewslice/`, `experiment_init/` and `runs/`."""
    return Path(__file__).resolve().parents[2]


def experiments_folder() -> Path:
    """Returns the folder with the user's `init_` and `data_cfg_` files."""
    return Path(os.environ.get("FEWSLICE_EXPERIMENTS") or checkout() / "experiment_init").expanduser()


def names(folder: Path) -> list[str]:
    """Returns the datasets for which `folder` has an `init_<name>.py`, sorted."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob("init_*.py"))
    return sorted(match[1] for match in found if match)


def unknown_dataset(folder: Path, name: str) -> str:
    """Returns the message for a name without an `init_<name>.py`, in one line."""
    remedy = f"For your own scans, scripts/add_dataset.py writes {folder.name}/init_<name>.py."
    return f"{unknown_name('dataset', name, names(folder))} {remedy}"


class ExperimentFile:
    """One executed `init_` or `data_cfg_` file: its values, and where in the file each stands.

    Attributes:
        names: The public names, those that the file imports from another one included.
        assigned: The public names that the file itself assigns at top level, in order. Names that start with
            an underscore are the user's helpers and count nowhere.

    Raises:
        ConfigError: the file is missing, has a syntax error or stops with an exception; names file and line.
    """

    def __init__(self, path: Path):
        self.path = path
        self._namespace, self._source = _execute(path)
        self._tree = ast.parse(self._source)
        self.names = frozenset(key for key in self._namespace if isinstance(key, str) and not key.startswith("_"))
        targets = [(target.id, node) for node in self._tree.body for target in _targets(node)]
        self._nodes = dict(targets)
        self.assigned = tuple(dict.fromkeys(name for name, _ in targets if not name.startswith("_")))

    def plain_values(self, names: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
        """Returns the values of those of these names that the file has, and what else some hold, with its line.

        Values are None, truth values, numbers and texts, in tuples and dicts: what they are in the file once and for
        all, whatever objects the file made.
        """
        values, problems = {}, []
        for name in names:
            if name in self.names:
                try:
                    values[name] = plain(self._namespace[name])
                except ConfigError as error:
                    problems.append(f"{self.where(name)}: `{name}` {error}")
        return values, problems

    def where(self, *place: str) -> str:
        """Returns "file:line" of an attribute or of an entry in its dict of dicts; "file" if absent.

        Args:
            *place: Name of the attribute, then keys of nested dict literals.
        """
        node = self._nodes.get(place[0]) if place else None
        if node is None:
            return _shown(self.path)
        return f"{_shown(self.path)}:{_line_of(node.value, place[1:], node.lineno)}"

    def duplicate_keys_and_missing_commas(self) -> list[str]:
        """Finds mistakes in tables of ids that Python accepts: duplicate keys, missing commas between strings."""
        found = set()
        for node in (node for node in ast.walk(self._tree) if isinstance(node, ast.Dict)):
            keys = [key for key in node.keys if isinstance(key, ast.Constant)]
            values = [key.value for key in keys]
            twice = [key for key in keys if values.count(key.value) > 1]
            found |= {(key.lineno, f"duplicate key {key.value!r}; only the last would count.") for key in twice}
        tokens = tokenize.generate_tokens(io.StringIO(self._source).readline)
        tokens = [token for token in tokens if token.type not in (tokenize.NL, tokenize.COMMENT)]
        for first, second in itertools.pairwise(tokens):
            if first.type == second.type == tokenize.STRING:
                text = f"a comma is missing between {first.string} and {second.string}."
                found.add((second.start[0], text))
        return [f"{_shown(self.path)}:{line}: {text}" for line, text in sorted(found)]


def load(folder: Path, name: str) -> tuple[ExperimentFile, ExperimentFile]:
    """Executes `init_<name>.py` and `data_cfg_<name>.py`.

    Raises:
        ConfigError: unknown name (with the nearest known one), a missing `data_cfg_` file or a broken file.
    """
    if name not in names(folder):
        raise ConfigError(unknown_dataset(folder, name))
    return ExperimentFile(folder / f"init_{name}.py"), ExperimentFile(folder / f"data_cfg_{name}.py")


def _execute(path: Path) -> tuple[dict[str, object], str]:
    if not path.is_file():
        pair = "Each init_<name>.py needs a data_cfg_<name>.py with its split lists."
        raise ConfigError(f"{_shown(path)} is missing. {pair}")
    spec = importlib.util.spec_from_file_location(f"experiment_init.{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        source = importlib.util.decode_source(path.read_bytes())
        exec(compile(source, os.fspath(path), "exec"), vars(module))
    except SyntaxError as error:
        broken = Path(error.filename or path)
        text = f"{error.msg}: {(error.text or '').strip()}"
        raise ConfigError(f"{_shown(broken)}:{error.lineno}: Python cannot read this line: {text}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        stack = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in stack if frame.filename == os.fspath(path)]
        place = f"{_shown(path)}:{lines[-1]}" if lines else _shown(path)
        text = "(no words)"
        with contextlib.suppress(Exception):  # it is the user's class
            text = str(error)
        raise ConfigError(f"{place}: {type(error).__name__}: {text}") from None
    return vars(module), source


def plain(value: Any) -> Any:
    """Returns a value as None, truth value, number, text, or tuples and dicts of such; NumPy's arrays are tuples.

    Raises:
        ConfigError: what it is instead; the words follow the name of the value.
    """
    try:
        return _plain(value, itertools.count(), 0)
    except ConfigError:
        raise
    except Exception as error:  # of the user's class
        text = f"cannot be read: {type(error).__name__} in something of the type {type(value).__name__}."
        raise ConfigError(text) from None


def _plain(value: Any, count: Iterator[int], depth: int) -> Any:
    if depth > _DEEPEST or next(count) >= _MOST_VALUES:
        raise ConfigError(
            f"holds more than {_DEEPEST} levels or {_MOST_VALUES} values, or itself. Write out what it means."
        )
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > _LARGEST_BITS:
            raise ConfigError("holds a whole number of more than 18 digits. Write a smaller one.")
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        text = str.__str__(value)
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ConfigError(f"holds a text with characters that no file name has: {text!r:.80}. Write it in UTF-8.")
        return text
    if isinstance(value, (dict, MappingProxyType)):
        return {_plain(key, count, depth + 1): _plain(item, count, depth + 1) for key, item in dict(value).items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), count, depth + 1)
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item, count, depth + 1) for item in value)
    kind = f"something of the type {type(value).__name__}"
    raise ConfigError(f"must hold texts, numbers, tuples, lists and dicts. Received: {kind}.")


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _targets(node: ast.stmt) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    is_assignment = isinstance(node, (ast.Assign, ast.AnnAssign))
    return [target for target in targets if is_assignment and isinstance(target, ast.Name)]


def _line_of(node: ast.AST | None, keys: tuple[str, ...], line: int) -> int:
    if keys and isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and str(key.value) == keys[0]:
                return _line_of(value, keys[1:], key.lineno)
    return line
