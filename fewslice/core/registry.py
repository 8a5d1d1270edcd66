"""Name -> object, with an answer that helps when the name is wrong."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any

from fewslice.core.errors import ConfigError


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Returns the message for an unknown name, with the nearest known one.

    >>> unknown_name("dataset", "acdcc", ["acdc", "mmwhs"])
    "Unknown dataset 'acdcc'. Did you mean 'acdc'? Known: acdc, mmwhs."
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}."


def import_modules(package: str, path: Iterable[str]) -> None:
    """Imports every module of a package, so that what they register is known; `path` is the package's `__path__`."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


class Registry:
    """A table of named objects of one kind.

    Args:
        kind: What the objects are, in the singular, for messages ("loss", "reader").

    Example:
        >>> shapes = Registry("shape")
        >>> @shapes.register("square")
        ... def square():
        ...     return 4
        >>> shapes.get("square")()
        4
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._objects: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Returns a decorator that stores its object under `name`. A name that is taken raises `RuntimeError`."""

        def decorate(obj: Any) -> Any:
            if name in self._objects:
                raise RuntimeError(f"The {self.kind} {name!r} is registered twice.")
            self._objects[name] = obj
            return obj

        return decorate

    def get(self, name: str) -> Any:
        """Returns the object called `name`. Raises `ConfigError` with the nearest known name."""
        if name not in self._objects:
            raise ConfigError(unknown_name(self.kind, name, self._objects))
        return self._objects[name]

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        return sorted(self._objects)
