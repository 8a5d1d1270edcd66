"""Quarter turns, mirroring and small rotations.

Expected values: golden file (SciPy's rotation of order 0, NumPy's turns), and hand cases. The other pieces of that file
are compared in `test_group_views.py`.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from fewslice.augment.rot_flip import RotFlip, rotate_nearest, turn_and_mirror
from fewslice.core.errors import ConfigError
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
    found, found_labels = RotFlip()(np.random.default_rng(0), images, labels, label_fill=999)
    assert found.dtype == np.float32 and found_labels.dtype == np.int32
    np.testing.assert_array_equal(np.where(found_labels == 999, 0, found_labels), found[..., 0])
    counts = np.bincount(kinds(found_labels, labels[0]), minlength=3) / len(labels)
    # A mirrored image is never the original; an angle of 0 or 1 degree leaves this small one as it is.
    assert counts[1] == pytest.approx(0.5, abs=0.08) and counts[0] + counts[2] == pytest.approx(0.5, abs=0.08)
    assert counts[2] == pytest.approx(0.25, abs=0.08)
    assert (found_labels == 999).any() and not (found == 999).any()
    assert len({row.tobytes() for row in found_labels}) > 8 + 5, "all turns, several angles"


def test_each_part_alone_and_the_fill_of_masks():
    images, labels = marked(200)
    rng = np.random.default_rng(3)
    _, turned = RotFlip(turn_probability=1.0)(rng, images, labels)
    assert {row.tobytes() for row in turned} == {
        turn_and_mirror(labels[0], k, axis).tobytes() for k in range(4) for axis in (0, 1)
    }
    _, rotated = RotFlip(turn_probability=0.0, rotate_probability=1.0, max_degrees=2)(rng, images, labels)
    assert {row.tobytes() for row in rotated} == {rotate_nearest(labels[0], d).tobytes() for d in (-2, -1, 0, 1)}
    _, same = RotFlip(turn_probability=0.0, rotate_probability=0.0)(rng, images, labels)
    np.testing.assert_array_equal(same, labels)
    _, wide = RotFlip(turn_probability=0.0, rotate_probability=1.0)(rng, images, labels)
    assert (wide == 0).any()


def test_slices_that_are_not_square_keep_their_shape():
    images, labels = marked(50, (4, 7))
    found, found_labels = RotFlip(turn_probability=1.0)(np.random.default_rng(0), images, labels)
    assert found.shape == images.shape and set(np.unique(found_labels)) <= set(np.unique(labels))
    corners = [{int(row[r, c]) for r in (0, -1) for c in (0, -1)} for row in found_labels]
    assert all(row == {1, 7, 22, 28} for row in corners)


def test_reproducible_and_pure():
    images, labels = marked(8)
    before = images.copy()
    one, again, other = (RotFlip()(np.random.default_rng(seed), images, labels)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turn_probability": 1.5}, r"`turn_probability` must lie in \[0, 1\]. Received: 1.5"),
        ({"rotate_probability": -1}, "`rotate_probability` must lie in"),
        ({"max_degrees": 0}, "`max_degrees` must be at least 1"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        RotFlip(**options)
