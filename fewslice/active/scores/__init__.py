"""One score of uncertainty per file. A file here, or one that a user imports, registers itself under its name.

A score is a function of the running sums over passes, `fewslice.active.uncertainty.PassStatistics`.
"""

from __future__ import annotations

from fewslice.active.uncertainty import SCORES


def load_all() -> None:
    """Imports every score of this folder, so that their names are known."""
    SCORES.load()
