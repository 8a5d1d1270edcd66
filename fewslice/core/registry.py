"""Name -> object, with an answer that helps when the name is wrong.

Every kind of thing that users call by a name has one table, made where the kind is defined: "layout" (readers),
"loss", "strategy", "uncertainty score", "kind of features", "annotator", "network". `of(kind)` finds it, so that
settings can look names up without importing the rooms above them.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from absl import logging

from fewslice.core.errors import ConfigError

_TABLES: dict[str, Registry] = {}


def of(kind: str) -> Registry:
    """Returns the table of a kind; an empty one as long as nothing that was imported defines the kind."""
    return _TABLES.get(kind) or Registry(kind)


def tables() -> list[Registry]:
    """Returns the tables of all kinds that are defined so far."""
    return list(_TABLES.values())


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns the message for an unknown name, with the nearest known one.

    >>> unknown_name("dataset", "acdcc", ["acdc", "mmwhs"])
    "Unknown dataset 'acdcc'. Did you mean 'acdc'? Known: acdc, mmwhs."
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name)[:80], known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r:.80}.{hint} Known: {', '.join(known) or 'none'}."


class Registry:
    """A table of named objects of one kind.

    Args:
        kind: What the objects are, in the singular, for messages ("loss", "reader").
        package: Name of the package whose modules register what comes with the software; they are imported when a
            name is asked for, or when something else registers one.

    Raises:
        RuntimeError: there is another table of this kind.

    Example:
        >>> shapes = Registry("shape")
        >>> @shapes.register("square")
        ... def square():
        ...     return 4
        >>> shapes.get("square")()
        4
    """

    def __init__(self, kind: str, package: str | None = None):
        other = _TABLES.get(kind)
        if other is not None and (other._package or other._objects):
            raise RuntimeError(f"There are two tables of the kind {kind!r}.")
        _TABLES[kind] = self
        self.kind = kind
        self._package = package
        self._is_loaded = package is None
        self._objects: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._aliases: dict[str, tuple[str, str]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Any], Any]:
        """Returns a decorator that stores its object under `name`. A name that is taken raises `RuntimeError`.

        Args:
            **facts: Attributes that it gives the object.
        """

        def decorate(obj: Any) -> Any:
            module, origin = _registering_module()
            if not f"{module}.".startswith(f"{self._package}."):
                self.load()
            if name in self._objects:
                first = self._origins[name]
                raise RuntimeError(f"The {self.kind} {name!r} is registered twice. The other one: {first}")
            self._objects[name] = obj
            self._origins[name] = origin
            for fact, value in facts.items():
                setattr(obj, fact, value)
            return obj

        return decorate

    def alias(self, name: str, of: str, meaning: str) -> None:
        """Makes `name` another name of what is registered as `of`; whoever uses it is told so, and what that is."""
        self._aliases[name] = of, meaning

    def true_name(self, name: str) -> str:
        """Returns the name that an alias stands for, and logs it; any other name as it is."""
        self.load()
        if name not in self._aliases:
            return name
        logging.info("The %s `%s` is `%s`: %s.", self.kind, name, *self._aliases[name])
        return self._aliases[name][0]

    def load(self) -> None:
        """Imports every module of `package` at the first call, so that what they register is known."""
        if not self._is_loaded:
            self._is_loaded = True  # what is imported registers names, too
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")

    def get(self, name: str) -> Any:
        """Returns the object called `name`, or by an alias. Raises `ConfigError` with the nearest known name."""
        self.load()
        name = name if name in self._objects else self.true_name(name)
        if name not in self._objects:
            raise ConfigError(unknown_name(self.kind, name, self._objects))
        return self._objects[name]

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        self.load()
        return sorted(self._objects)

    def from_file(self, *paths: Path) -> list[str]:
        """Returns the names that were registered while one of these files was imported, sorted."""
        wanted = {str(path) for path in paths}
        return sorted(name for name, origin in self._origins.items() if origin.rpartition(":")[0] in wanted)


def _registering_module() -> tuple[str, str]:
    """Returns the name of the module that is being imported, of several the innermost, and "file:line" in it."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_globals.get("__name__", ""), f"{frame.f_code.co_filename}:{frame.f_lineno}"
