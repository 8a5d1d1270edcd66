"""Slices: boxes one voxel thick, all of every volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewslice.active.units import UNITS, Case, Units


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
