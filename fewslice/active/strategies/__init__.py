"""One strategy per file. A file here, or one that a user imports, registers itself under the name users call it by."""

from __future__ import annotations

import importlib
import pkgutil


def load_all() -> None:
    """Imports every strategy of this folder, so that their names are known."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
