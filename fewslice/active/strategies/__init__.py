"""One strategy per file. A file here, or one that a user imports, registers itself under the name users call it by."""

from __future__ import annotations

from fewslice.active.query import STRATEGIES


def load_all() -> None:
    """Imports every strategy of this folder, so that their names are known."""
    STRATEGIES.load()
