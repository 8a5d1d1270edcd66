"""Slices, boxes one voxel thick, all of every volume; and whole cases, the box that holds everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewslice.active.units import UNITS, Case, Units
from fewslice.core.errors import ConfigError


def slice_name(case_id: str, index: int) -> str:
    """Returns the name of a slice, such as "001_ED_slice_03"; slices count from 0 in the order of the file."""
    return f"{case_id}_slice_{index:02d}"


@UNITS.register("slice")
def slices(cases: Sequence[Case]) -> Units:
    """Returns every slice of every case, case by case."""
    depths = [case.shape[0] for case in cases]
    case = np.repeat(np.arange(len(depths)), depths)
    index = np.concatenate([np.arange(depth) for depth in depths]) if depths else np.empty(0, np.int64)
    start = np.stack([index, np.zeros_like(index), np.zeros_like(index)], axis=1)
    size = np.array([(1, *each.shape[1:]) for each in cases], np.int32).reshape(-1, 3)[case]
    names = [slice_name(cases[of].case_id, cases[of].file_slice(place)) for of, place in zip(case, index, strict=True)]
    return Units(cases, case, start, size, unit_ids=names)


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
