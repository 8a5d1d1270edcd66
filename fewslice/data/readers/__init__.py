"""Readers: one file per folder layout, found by its name in `READERS`.

A new layout is one new module here with a `@READERS.register("name")` subclass of `Reader`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from fewslice.data.readers.base import READERS, Reader
from fewslice.data.readers.selection import find_cases
from fewslice.settings.datasets import DatasetConfig

__all__ = ["READERS", "Reader", "find_cases", "get_reader"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def get_reader(dataset: DatasetConfig, root: Path | None = None) -> Reader:
    """Returns the reader for a dataset's layout; the arguments are those of `Reader`.

    Raises:
        ConfigError: unknown layout, with the nearest known one.
    """
    return READERS.get(dataset.layout)(dataset, root)
