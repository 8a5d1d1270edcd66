"""Partial label volumes. Expected values: by hand."""

import numpy as np

from fewslice.active.labels import Labels
from fewslice.active.pool import make_pool
from fewslice.active.units import Case
from fewslice.settings.experiment import Named
from tests.active.units import annotate, volume_of

CASES = [Case("a", "p", (2, 3, 4)), Case("b", "p", (1, 2, 2))]
IGNORE = 3


def test_patches_of_two_rounds_make_a_partial_volume():
    pool = make_pool(CASES, Named(name="patch", options={"size": (1, 2, 2), "stride": (1, 1, 2)}))
    names = "a_patch_0_0_0", "b_patch_0_0_0", "a_patch_1_1_2"
    parts = [np.array([[[0, 1], [3, 2]]]), np.full((1, 2, 2), 1), np.array([[[2, 2], [0, 3]]])]
    labels = annotate(pool, IGNORE, dict(zip(names, parts[:2], strict=False)), {names[2]: parts[2]})
    expected = np.full((2, 3, 4), IGNORE)
    expected[0, :2, :2], expected[1, 1:, 2:] = parts[0][0], parts[2][0]
    assert np.array_equal(volume_of(labels, 0), expected) and np.array_equal(volume_of(labels, 1), parts[1])
    assert len(labels) == 3 and labels.units.tolist() == [pool.find(name) for name in names]
    assert labels.count_voxels() == 3 + 4 + 3 and not labels.is_complete
    assert [np.array_equal(labels.labels(place), part) for place, part in enumerate(parts)] == [True] * 3


def test_full_masks_are_complete():
    pool = make_pool(CASES)
    labels = annotate(pool, IGNORE, {"a_slice_01": np.zeros((1, 3, 4))})
    assert labels.is_complete and Labels(pool, IGNORE).is_complete
    assert (volume_of(labels, 0)[1] == 0).all() and (volume_of(labels, 0)[0] == IGNORE).all()
    assert labels.digest() != Labels(pool, IGNORE).digest()
