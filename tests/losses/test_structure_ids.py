"""Expected values: by hand, from the batch layouts in the docstrings."""

import numpy as np
import pytest

from losses import local_row_layout, row_layout, structure_ids


def blocks(ids, n_parts):
    """Returns (slot, view) of each block of n_parts rows, checking that it holds the partitions in order."""
    ids = ids.reshape(-1, n_parts, 3)
    assert np.all(ids[:, :, 1] == np.arange(n_parts))
    assert np.all(ids[:, :, [0, 2]] == ids[:, :1, [0, 2]])
    return [tuple(int(value) for value in block) for block in ids[:, 0, [0, 2]]]


@pytest.mark.parametrize("n_parts", [1, 3, 4])
def test_global_layouts(n_parts):
    assert row_layout(0, 2, n_parts).tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]
    by_view = [(slot, view) for view in range(3) for slot in range(2)]
    assert blocks(row_layout(1, 2, n_parts), n_parts) == by_view
    assert blocks(row_layout(2, 2, n_parts), n_parts) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for exp_no in (3, 4):
        by_slot = [(slot, view) for slot in range(2) for view in range(3)]
        assert blocks(row_layout(exp_no, 2, n_parts), n_parts) == by_slot


def test_local_layouts():
    assert local_row_layout(0, 2).tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert blocks(local_row_layout(1, 3, 4), 4) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("kwargs", [{"num_slots": 0}, {"num_slots": 2, "n_parts": 0}])
def test_sizes_must_be_positive(kwargs):
    with pytest.raises(ValueError, match="must be at least 1"):
        row_layout(2, **kwargs)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 3, 1)])
def test_ids_must_have_three_columns(shape):
    with pytest.raises(ValueError, match="volume_slot, partition, view"):
        structure_ids.split_ids(np.zeros(shape))
