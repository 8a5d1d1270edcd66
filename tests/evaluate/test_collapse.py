"""The effective rank. Expected values by hand: exp of the entropy of the normalised singular values."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.evaluate.collapse import effective_rank


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_orthogonal_rows(size):
    assert effective_rank(3 * np.eye(size, 20)) == pytest.approx(size)


def test_collapsed_rows():
    direction = np.arange(1.0, 6.0)
    assert effective_rank(np.outer([1, 2, 50, 0.1], direction)) == pytest.approx(1)


def test_two_by_two_by_hand():
    # Unit rows at 60 degrees: singular values sqrt(1 + 1/2) and sqrt(1 - 1/2).
    rows = np.array([[1, 0], [0.5, np.sqrt(0.75)]])
    p = np.sqrt([1.5, 0.5]) / np.sqrt([1.5, 0.5]).sum()
    assert effective_rank(rows) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_lengths_and_rotations_do_not_matter():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((10, 6))
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    expected = effective_rank(rows)
    assert effective_rank(rows * rng.uniform(0.1, 9, (10, 1))) == pytest.approx(expected)
    assert effective_rank(rows @ rotation) == pytest.approx(expected)
    assert 1 < expected < 6


def test_partitions_that_collapse_to_points_give_their_number():
    rows = np.repeat(np.eye(4, 128), 6, axis=0)
    assert effective_rank(rows.astype(np.float32)) == pytest.approx(4)


def test_zeros():
    assert effective_rank(np.zeros((3, 4))) == 0
    assert effective_rank(np.vstack([np.zeros(4), np.eye(4)])) == pytest.approx(4)
