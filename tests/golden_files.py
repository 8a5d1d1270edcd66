"""Finds the golden files: inputs and outputs recorded from the published code.

They are no part of the project. `FEWSLICE_GOLDEN` names the folder; by default it lies beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT = Path(os.environ.get("FEWSLICE_GOLDEN", REPOSITORY.parent / "shared" / "golden"))


def golden(folder: str, pattern: str) -> list[Path]:
    """Returns the golden files `folder/pattern`, for instance ("contrastive/global", "*_exp2_*.npz"), sorted."""
    return sorted((ROOT / folder).glob(pattern))


def golden_param(folder: str, pattern: str) -> list:
    """Returns one pytest parameter per golden file, or one that is skipped with the reason."""
    files = golden(folder, pattern)
    if not files:
        reason = f"no golden files {ROOT / folder / pattern}; set FEWSLICE_GOLDEN"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(path, id=path.stem) for path in files]
