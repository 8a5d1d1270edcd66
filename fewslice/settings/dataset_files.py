"""Finding and running the files `init_<name>.py` and `data_cfg_<name>.py` that a user edits.

The folder is `experiment_init/` of the checkout, or the one that the environment variable
FEWSLICE_EXPERIMENTS names.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import itertools
import os
import re
import tokenize
import traceback
from pathlib import Path
from types import MappingProxyType

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

_NAME = re.compile(r"init_([A-Za-z0-9][A-Za-z0-9_]*)\.py")


def checkout() -> Path:
    """Returns the folder that holds `fewslice/`, `experiment_init/` and `runs/`."""
    return Path(__file__).resolve().parents[2]


def experiments_folder() -> Path:
    """Returns the folder with the user's `init_` and `data_cfg_` files."""
    return Path(os.environ.get("FEWSLICE_EXPERIMENTS") or checkout() / "experiment_init")


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

    Args:
        path: The Python file.

    Attributes:
        values: Public name -> value, including what the file imports from another one.
        assigned: The public names that the file itself assigns at top level, in order. Names that start with
            an underscore are the user's helpers and count nowhere.

    Raises:
        ConfigError: the file is missing, has a syntax error or stops with an exception; names file and line.
    """

    def __init__(self, path: Path):
        self.path = path
        namespace, self._source = _execute(path)
        self._tree = ast.parse(self._source)
        self.values = MappingProxyType({key: value for key, value in namespace.items() if not key.startswith("_")})
        targets = [(target.id, node) for node in self._tree.body for target in _targets(node)]
        self._nodes = dict(targets)
        self.assigned = tuple(dict.fromkeys(name for name, _ in targets if not name.startswith("_")))

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
        source = path.read_text(encoding="utf-8")
        exec(compile(source, os.fspath(path), "exec"), vars(module))
    except SyntaxError as error:
        broken = Path(error.filename or path)
        text = f"{error.msg}: {(error.text or '').strip()}"
        raise ConfigError(f"{_shown(broken)}:{error.lineno}: Python cannot read this line: {text}") from error
    except (Exception, SystemExit) as error:
        stack = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in stack if frame.filename == os.fspath(path)]
        place = f"{_shown(path)}:{lines[-1]}" if lines else _shown(path)
        raise ConfigError(f"{place}: {type(error).__name__}: {error}") from error
    return vars(module), source


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
