"""The pool of units: expected values by hand."""

import numpy as np
import pytest

from fewslice.active.units import make_pool
from fewslice.core.errors import ConfigError

GOOD = {
    "unit_ids": ["a0", "a1", "b0"],
    "patients": ["p", "p", "q"],
    "volumes": ["a", "a", "b"],
    "positions": [0, 1, 0],
}


def test_counts_depths():
    pool = make_pool(**GOOD, metadata={"phase": [0, 1, 0], "group": np.eye(3)})
    assert len(pool) == 3
    np.testing.assert_array_equal(pool.depths, [2, 2, 1])
    assert pool.positions.dtype == np.int64 and pool.depths.dtype == np.int64
    assert pool.metadata["group"].shape == (3, 3) and pool.metadata["phase"].dtype == np.float64


@pytest.mark.parametrize("change, words", [
    ({"unit_ids": [], "patients": [], "volumes": [], "positions": []}, "no unit"),
    ({"patients": ["p", "p"]}, "`patients` has shape"),
    ({"positions": [[0], [1], [0]]}, "`positions` has shape"),
    ({"unit_ids": ["a0", "a1", "a0"]}, "a0 stands in the pool twice"),
    ({"patients": ["p", "q", "q"]}, "belongs to two patients"),
    ({"positions": [1, 1, 0]}, "same position"),
    ({"metadata": {"height": [1.0, np.nan, 2.0]}}, "'height' must be 3 finite"),
    ({"metadata": {"height": [1.0]}}, "'height' must be 3 finite"),
])  # fmt: skip
def test_mistakes(change, words):
    with pytest.raises(ConfigError, match=words):
        make_pool(**(GOOD | change))
