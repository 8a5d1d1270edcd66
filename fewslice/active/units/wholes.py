"""Whole cases: an image or a volume is one unit, the box that holds everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewslice.active.units import UNITS, Case, Units
from fewslice.core.errors import ConfigError


@UNITS.register("volume")
@UNITS.register("image")
def wholes(cases: Sequence[Case], *, label: str = "") -> Units:
    """Returns a unit for each case.

    Args:
        label: Fact of a case that is its image-level class, such as "grade"; "" for none.

    Raises:
        ConfigError: a case about which this fact is not known.
    """
    lacking = [case for case in cases if label and label not in case.facts]
    if lacking:
        known = ", ".join(sorted(lacking[0].facts)) or "nothing"
        raise ConfigError(
            f"`label: {label}` of the unit: {lacking[0].case_id} and {len(lacking) - 1} more cases have no such fact. "
            f"Known of it: {known}."
        )
    count = len(cases)
    return Units(
        cases,
        np.arange(count),
        np.zeros((count, 3), np.int32),
        np.array([case.shape for case in cases], np.int32).reshape(count, 3),
        unit_ids=[case.case_id for case in cases],
        labels=[case.facts[label] for case in cases] if label else None,
    )
