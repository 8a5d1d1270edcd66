"""Code of a user, outside the checkout, that registers readers, networks, losses, strategies, scores and the like.

A plugin is a Python file, or a package that Python finds. `--plugin` of every script names it (may be repeated), or the
environment variable FEWSLICE_PLUGINS (several are separated as in PATH). It is imported once, before names are looked
up; from then on what it registers is as good as what comes with the software.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path

from absl import logging

from fewslice.core import files, registry
from fewslice.core.errors import ConfigError

FLAG, VARIABLE = "plugin", "FEWSLICE_PLUGINS"
HELP = (
    "Python file, or package that Python finds, that registers readers, networks, losses, strategies, scores, "
    f"annotators or features of your own; may be repeated. Those in {VARIABLE} come first. See docs/extending.md."
)
_WHAT = "A plugin is a Python file, whose name ends with .py, or a package that Python finds"


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A plugin that has been imported.

    Attributes:
        file: The file; of a package its `__init__.py`.
        sha256: Of the file; of a package, of the paths and contents of all its Python files.
        registered: (kind, name) of everything that it registered.
    """

    file: str
    sha256: str
    registered: tuple[tuple[str, str], ...]


_loaded: dict[str, Plugin] = {}


def loaded() -> tuple[Plugin, ...]:
    """Returns the plugins that have been imported, in order."""
    return tuple(_loaded.values())


def load(sources: Iterable[str] = ()) -> None:
    """Imports the plugins of FEWSLICE_PLUGINS and then these, each once.

    Args:
        sources: Files, or names of packages.

    Raises:
        ConfigError: there is no such file or package, or it cannot be imported, with its file and line.
    """
    listed = [source for source in os.environ.get(VARIABLE, "").split(os.pathsep) if source]
    for named, source in [*((VARIABLE, text) for text in listed), *((f"--{FLAG}", text) for text in sources)]:
        is_file = source.endswith(".py") or os.sep in source
        spec = (_spec_of_file if is_file else _spec_of_package)(source, f"{named}={source}")
        if spec.origin not in _loaded:
            _loaded[spec.origin] = _import(spec, is_file)


def _spec_of_file(source: str, named: str) -> ModuleSpec:
    path = Path(source).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"{named}: there is no file {path}. {_WHAT}.")
    return importlib.util.spec_from_file_location(f"fewslice_plugin_{path.stem}_{files.digest(str(path))}", path)


def _spec_of_package(source: str, named: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError):  # of the packages around it, or no name at all
        spec = None
    if spec is None or not spec.has_location:
        raise ConfigError(f"{named}: there is no package of this name. {_WHAT}: install it, or add it to PYTHONPATH.")
    return spec


def _import(spec: ModuleSpec, is_file: bool) -> Plugin:
    origin = Path(spec.origin)
    members = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    try:
        if is_file:  # no compiled copy is left beside it
            content = origin.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            exec(compile(content, origin, "exec"), module.__dict__)
        else:
            sha256 = files.digest({str(path.relative_to(origin.parent)): files.sha256(path) for path in members}, 64)
            importlib.import_module(spec.name)
    except (Exception, SystemExit) as error:
        sys.modules.pop(spec.name, None)
        text = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(
            f"{_place(error, members)}: {type(error).__name__}: {text}\nMend the plugin, or leave it out."
        ) from error
    registered = tuple((table.kind, name) for table in registry.tables() for name in table.from_file(*members))
    if not registered:
        logging.warning("The plugin %s registers nothing.", origin)
    return Plugin(spec.origin, sha256, registered)


def _place(error: BaseException, members: list[Path]) -> str:
    """Returns "file:line" of the last line of the plugin that ran, or of what Python does not understand."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = {str(path) for path in members}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(members[0])
