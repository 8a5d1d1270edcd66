"""Quarter turns, mirroring and small rotations.

Expected values: golden file (SciPy's rotation of order 0, NumPy's turns), and hand cases. The other pieces of that file
are compared in `test_group_views.py`.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from fewslice.augment.rot_flip import rot_flip, rotate_nearest, turn_and_mirror
from tests.augment.coins import Coins
from tests.golden_files import golden

NPZ = golden("coreclr", "augment_primitives.npz")
NAMES = [] if not NPZ else [name for name in np.load(NPZ[0]).files if name.startswith(("rotflip_", "rotate_"))]
NAMES = NAMES or [
    pytest.param(None, marks=pytest.mark.skip(reason="no golden files; set FEWSLICE_GOLDEN"), id="absent")
]


@pytest.mark.golden
@pytest.mark.parametrize("name", NAMES)
def test_golden_pieces(name):
    with np.load(NPZ[0]) as data:
        expected, image, label = data[name], data["image"], data["label"]
    array = label if "_label" in name else image
    if turn := re.fullmatch(r"rotflip_k(\d+)_axis(\d)_(?:image|label)", name):
        found = turn_and_mirror(array, int(turn[1]), int(turn[2]))
    else:
        degrees, fill = re.fullmatch(r"rotate_(-?\d+)_(?:image|label_cval(\d+))", name).groups()
        found = rotate_nearest(array, int(degrees), fill=int(fill or 0))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_pieces_by_hand():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert turn_and_mirror(image, 1, 0).tolist() == [[1, 4], [2, 5], [3, 6]]  # [[3, 6], [2, 5], [1, 4]] upside down
    assert rotate_nearest(image, 0).tolist() == image.tolist()
    assert rotate_nearest(np.eye(3, dtype=int), 45, fill=7).tolist() == [[7, 0, 7], [1, 1, 1], [7, 0, 7]]


def test_channels_are_turned_alike():
    image = np.random.default_rng(0).normal(size=(6, 9, 2)).astype(np.float32)
    for change in (lambda x: turn_and_mirror(x, 3, 1), lambda x: rotate_nearest(x, 17)):
        both = change(image)
        for channel in range(2):
            np.testing.assert_array_equal(both[..., channel], change(image[..., channel]))


def marked(count=400, shape=(9, 9)):
    """Returns images whose pixels are 1, 2, ... and labels that equal them."""
    labels = np.arange(1, 1 + np.prod(shape), dtype=np.int32).reshape(shape)
    labels = np.repeat(labels[None], count, axis=0)
    return labels[..., None].astype(np.float32), labels


def kinds(labels, original):
    """Returns for each row whether it is unchanged, turned and mirrored, or otherwise changed."""
    turned = {turn_and_mirror(original, k, axis).tobytes() for k in range(4) for axis in (0, 1)}
    return [0 if row.tobytes() == original.tobytes() else 1 if row.tobytes() in turned else 2 for row in labels]


def test_law_and_correspondence():
    images, labels = marked()
    found, found_labels = rot_flip(np.random.default_rng(0), images, labels, label_fill=999)
    assert found.dtype == np.float32 and found_labels.dtype == np.int32
    np.testing.assert_array_equal(np.where(found_labels == 999, 0, found_labels), found[..., 0])
    counts = np.bincount(kinds(found_labels, labels[0]), minlength=3) / len(labels)
    # A mirrored image is never the original; an angle of 0 or 1 degree leaves this small one as it is.
    assert counts[1] == pytest.approx(0.5, abs=0.08) and counts[0] + counts[2] == pytest.approx(0.5, abs=0.08)
    assert counts[2] == pytest.approx(0.25, abs=0.08)
    assert (found_labels == 999).any() and not (found == 999).any()
    angles = [
        np.where(rotated < 0, 999, rotated)
        for rotated in (rotate_nearest(labels[0], d, fill=-1) for d in range(-20, 20))
    ]
    turns = [turn_and_mirror(labels[0], k, axis) for k in range(4) for axis in (0, 1)]
    kinds_found, rows = {row.tobytes() for row in found_labels}, [row.tobytes() for row in (*turns, *angles)]
    assert kinds_found <= set(rows) and {row.tobytes() for row in turns} < kinds_found and len(kinds_found) > 8 + 5
    _, filled = rot_flip(np.random.default_rng(0), images, labels)
    np.testing.assert_array_equal(filled, np.where(found_labels == 999, 0, found_labels))


def test_slices_that_are_not_square_keep_their_shape():
    images, labels = marked(50, (4, 7))
    found, found_labels = rot_flip(Coins(*range(50)), images, labels)
    assert found.shape == images.shape and set(np.unique(found_labels)) <= set(np.unique(labels))
    corners = [{int(row[r, c]) for r in (0, -1) for c in (0, -1)} for row in found_labels]
    assert all(row == {1, 7, 22, 28} for row in corners)
