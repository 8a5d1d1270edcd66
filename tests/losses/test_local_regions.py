"""Expected values: the coordinates and tables of the paper's published setting, written out by hand."""

import numpy as np
import pytest

from losses import RegionTable, region_table

LETTERS = {12: (2, 4, 6, 8), 24: (5, 10, 15, 20), 48: (11, 22, 33, 44), 96: (23, 46, 69, 92)}
LETTERS |= {192: (47, 94, 141, 188), 10: (1, 3, 4, 6), 20: (4, 8, 12, 16), 40: (9, 18, 27, 36)}
LETTERS |= {80: (19, 38, 57, 76), 160: (39, 78, 117, 156)}
REGIONS = "00 0h 0m h0 hh hm m0 mh mm qq qt tq tt".split()
SPOT_CHECKS = [  # regions, size, region, its five negatives in order
    (9, 0, "00", "0h h0 hh 0m m0"),
    (9, 1, "mh", "h0 hh hm m0 mm"),
    (13, 0, "0m", "0h hh hm tq qt"),
    (13, 0, "tq", "h0 hh m0 0h qq"),
    (13, 1, "00", "0h qq qh h0 hq"),
    (13, 1, "m0", "h0 hq mh tq th"),
    (13, 1, "tt", "hh hm mh mm tq"),
]


def corner(name, side, size):
    """Returns (row, column) of a two-letter position on a square map."""
    if size:
        letters = dict(zip("qhtm", LETTERS[side], strict=True))
    else:
        letters = {"q": (side - 1) // 4, "h": (side - 1) // 2, "t": 3 * (side - 1) // 4, "m": side - 1}
    return tuple({"0": 0, **letters}[letter] for letter in name)


def negatives_of(table, region):
    return {tuple(position) for position in table.positions[table.negative_mask[region]].tolist()}


@pytest.mark.parametrize("side", LETTERS)
def test_window_positions(side):
    table = region_table(side, 13, local_reg_size=1)
    expected = [corner(name, side, 1) for name in REGIONS]
    assert [tuple(p) for p in table.positions[:13].tolist()] == expected
    assert table.region_size == 3
    assert len(table.positions) == 17  # qh, hq, ht, th are negatives only
    assert len(np.unique(table.positions, axis=0)) == 17


@pytest.mark.parametrize("regions, size, region, negatives", SPOT_CHECKS)
@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_negatives_are_the_first_of_the_list(regions, size, region, negatives, count):
    table = region_table(48, regions, local_reg_size=size, no_of_neg_local_regions=count)
    expected = {corner(name, 48, size) for name in negatives.split()[:count]}
    assert negatives_of(table, REGIONS.index(region)) == expected


@pytest.mark.parametrize("regions", [9, 13])
@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_table_is_consistent(regions, size, count):
    table = region_table(24, regions, local_reg_size=size, no_of_neg_local_regions=count)
    assert table.positions.dtype == np.int32
    assert table.num_regions == regions and table.negative_mask.shape == (regions, len(table.positions))
    assert np.all(table.negative_mask.sum(axis=1) == count)
    assert not np.any(np.diagonal(table.negative_mask)), "no region is a negative of itself"
    assert np.all(table.positions >= 0) and np.all(table.positions + table.region_size <= 24)


@pytest.mark.parametrize("everything", ["all", 0])
def test_all_other_positions(everything):
    table = region_table(48, 13, local_reg_size=1, no_of_neg_local_regions=everything)
    expected = np.ones((13, 17), bool)
    np.fill_diagonal(expected, False)
    np.testing.assert_array_equal(table.negative_mask, expected)


def test_rectangular_maps_use_each_side():
    table = region_table((48, 24), 13, local_reg_size=1)
    np.testing.assert_array_equal(table.positions[:, 0], region_table(48).positions[:, 0])
    np.testing.assert_array_equal(table.positions[:, 1], region_table(24).positions[:, 1])


def test_overlap_of_windows_in_small_maps():
    assert region_table(12, 13, local_reg_size=1).has_overlap
    assert not region_table(24, 13, local_reg_size=1).has_overlap
    assert not region_table(12, 13, local_reg_size=0).has_overlap


def test_config_round_trip():
    table = region_table(24, 9, local_reg_size=1, no_of_neg_local_regions=3)
    copy = RegionTable.from_config(table.get_config())
    assert copy.get_config() == table.get_config()
    np.testing.assert_array_equal(copy.negative_mask, table.negative_mask)
    np.testing.assert_array_equal(copy.positions, table.positions)


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((7, 13), {"local_reg_size": 1}, "at least 8 .* a side of 7 pixels"),
        ((24, 13, ), {"local_reg_size": 2}, "`local_reg_size` must be one of 0, 1"),
        ((24, 10), {}, "`no_of_local_regions` must be one of 9, 13. Received: no_of_local_regions=10"),
        ((24, 13), {"no_of_neg_local_regions": 6}, "`no_of_neg_local_regions` must be one of .*'all'"),
        (((24, 24, 3), 13), {}, "a side or .rows, columns."),
        (((24, 4), 9), {"local_reg_size": 0}, None),
        (((24, 2), 9), {"local_reg_size": 0}, "at least 3"),
    ],
)  # fmt: skip
def test_unsupported_values(args, kwargs, message):
    if message is None:
        region_table(*args, **kwargs)
        return
    with pytest.raises(ValueError, match=message):
        region_table(*args, **kwargs)
