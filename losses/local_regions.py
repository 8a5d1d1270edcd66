"""Regions of a feature map that the local contrastive loss compares, and the negatives of each.

Coordinates are 0, q = m // 4, h = m // 2, t = 3 m // 4 and m, where m is the last corner; a position is two of these
letters, row first. The tables are those of the published code; they are irregular, and kept as data.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.2.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from losses import checks

_NINE = "00 0h 0m h0 hh hm m0 mh mm"
_THIRTEEN = f"{_NINE} qq qt tq tt"

# Negatives of each region, in order: the first ones remain if fewer are wanted.
_NEGATIVES_9 = (
    "0h h0 hh 0m m0", "00 0m h0 hh hm", "00 0h hh hm mm", "00 0h hh m0 mh", "00 0h h0 hm mh",
    "0h 0m hh mh mm", "00 h0 hh mh mm", "h0 hh hm m0 mm", "0m hh hm m0 mh",
)  # fmt: skip
_NEGATIVES_13_WINDOW = (
    "0h qq qh h0 hq", "00 0m qq qt hh", "0h qh qt ht hm", "00 qq hh m0 tq", "qq qt tq tt h0",
    "0m hh mm qt tt", "h0 hq mh tq th", "hh m0 mm tq tt", "ht hm mh tt th", "00 0h h0 hh qt",
    "0h 0m qq hh hm", "h0 hh m0 mh tt", "hh hm mh mm tq",
)  # fmt: skip
_NEGATIVES_13_POINT = (
    "0h h0 hh qq qt", "00 0m hh qq qt", "0h hh hm tq qt", "00 hh m0 qq tq", "qq qt tq tt h0",
    "0m hh mm qt tt", "h0 hh mh tq qq", "hh m0 mm tq tt", "hh hm mh tt tq", "00 0h h0 hh qt",
    "0h 0m hh hm tt", "h0 hh m0 0h qq", "hh hm mh mm qt",
)  # fmt: skip
_TABLES = {
    (9, 0): (_NINE, _NEGATIVES_9),
    (9, 1): (_NINE, _NEGATIVES_9),
    (13, 0): (_THIRTEEN, _NEGATIVES_13_POINT),
    (13, 1): (_THIRTEEN, _NEGATIVES_13_WINDOW),
}
ALL_NEGATIVES = "all"


@dataclasses.dataclass(frozen=True, eq=False)
class RegionTable:
    """Positions of one map size and who is a negative of whom.

    Attributes:
        positions: (U, 2) int32, distinct corners (row, column), in pixels of the map; the R regions come first.
        region_size: Side of the square region at a corner, 1 or 3 pixels.
        negative_mask: (R, U) bool, which positions are negatives of each region.
    """

    positions: np.ndarray
    region_size: int
    negative_mask: np.ndarray

    @property
    def num_regions(self) -> int:
        """R, the number of regions."""
        return len(self.negative_mask)

    @property
    def has_overlap(self) -> bool:
        """Whether a region shares pixels with one of its negatives, as 3x3 windows of small maps do."""
        distance = np.abs(self.positions[: self.num_regions, None] - self.positions[None]).max(axis=-1)
        return bool(np.any(self.negative_mask & (distance < self.region_size)))

    def get_config(self) -> dict[str, Any]:
        """Returns the table as plain lists and numbers."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RegionTable:
        """Returns the table that `get_config` described."""
        positions, negative_mask = np.asarray(config["positions"], np.int32), np.asarray(config["negative_mask"], bool)
        return cls(positions, int(config["region_size"]), negative_mask)


def region_table(
    map_size: int | tuple[int, int],
    no_of_local_regions: int = 13,
    *,
    local_reg_size: int = 1,
    no_of_neg_local_regions: int | str = 5,
) -> RegionTable:
    """Returns the regions of a feature map and their negatives.

    Args:
        map_size: Side of the map in pixels, or (rows, columns).
        no_of_local_regions: 9 or 13.
        local_reg_size: 0 for single pixels, 1 for 3x3 windows.
        no_of_neg_local_regions: How many of the five negatives of each region to use, 1 to 5 (4 in the published L^D);
            or "all" (also 0) for every other position of the table, which makes the task harder.

    Raises:
        ValueError: If a value is not supported or the map too small for distinct positions.

    Notes:
        As in the published code, the last row and column of a map lie in no 3x3 window (the last corner is S - 4).
    """
    checks.one_of("no_of_local_regions", no_of_local_regions, (9, 13))
    checks.one_of("local_reg_size", local_reg_size, (0, 1))
    checks.one_of("no_of_neg_local_regions", no_of_neg_local_regions, (1, 2, 3, 4, 5, ALL_NEGATIVES, 0))
    use_all = no_of_neg_local_regions in (ALL_NEGATIVES, 0)
    names, negatives = _TABLES[no_of_local_regions, local_reg_size]
    regions = names.split()
    limit = None if use_all else int(no_of_neg_local_regions)
    chosen = [row.split()[:limit] for row in negatives]
    corners = list(dict.fromkeys(regions + [name for row in chosen for name in row]))
    if use_all:
        chosen = [[other for other in corners if other != region] for region in regions]
    rows, columns = (_coordinates(side, no_of_local_regions, local_reg_size) for side in _two_sides(map_size))
    return RegionTable(
        positions=np.array([(rows[name[0]], columns[name[1]]) for name in corners], np.int32),
        region_size=3 if local_reg_size else 1,
        negative_mask=np.array([[corner in row for corner in corners] for row in chosen]),
    )


def _two_sides(map_size: int | tuple[int, int]) -> tuple[int, int]:
    sides = (map_size, map_size) if np.ndim(map_size) == 0 else tuple(map_size)
    if len(sides) != 2:
        raise ValueError(f"`map_size` must be a side or (rows, columns). Received: map_size={map_size}")
    return int(sides[0]), int(sides[1])


def _coordinates(side: int, no_of_local_regions: int, local_reg_size: int) -> dict[str, int]:
    """Returns the pixel of each letter along an axis of `side` pixels."""
    margin = 4 if local_reg_size else 1
    smallest = margin + (4 if no_of_local_regions == 13 else 2)
    if side < smallest:
        raise ValueError(
            f"`map_size` must be at least {smallest} for no_of_local_regions={no_of_local_regions} and "
            f"local_reg_size={local_reg_size}, else positions coincide; use more decoder blocks or larger images. "
            f"Received: a side of {side} pixels"
        )
    last = side - margin
    return {"0": 0, "q": last // 4, "h": last // 2, "t": 3 * last // 4, "m": last}
