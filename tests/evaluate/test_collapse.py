"""The effective rank. Expected values by hand: exp of the entropy of the normalised singular values."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.evaluate.collapse import effective_rank

# Unit rows at 60 degrees: singular values sqrt(1 + 1/2) and sqrt(1 - 1/2).
P = np.sqrt([1.5, 0.5]) / np.sqrt([1.5, 0.5]).sum()


@pytest.mark.parametrize(
    ("rows", "rank"),
    [
        (3 * np.eye(1, 20), 1),
        (3 * np.eye(12, 20), 12),
        (np.outer([1, 2, 50, 0.1], np.arange(1.0, 6.0)), 1),  # collapsed
        (np.repeat(np.eye(4, 128, dtype=np.float32), 6, axis=0), 4),  # partitions that collapse to points
        (np.array([[1, 0], [0.5, np.sqrt(0.75)]]), np.exp(-(P * np.log(P)).sum())),
        (np.zeros((3, 4)), 0),
    ],
)
def test_by_hand(rows, rank):
    assert effective_rank(rows) == pytest.approx(rank)


def test_lengths_and_rotations_do_not_matter():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((10, 6))
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    expected = effective_rank(rows)
    assert effective_rank(rows * rng.uniform(0.1, 9, (10, 1))) == pytest.approx(expected)
    assert effective_rank(rows @ rotation) == pytest.approx(expected)
    assert 1 < expected < 6
