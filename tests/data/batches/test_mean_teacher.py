"""Expected values: each row made again from its sources by the parts of `fewslice.augment`, and drawn properties."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.augment.copy_paste import copy_paste_boxes
from fewslice.augment.cutmix import cutmix_boxes
from fewslice.augment.strong_view import strong_view
from fewslice.data.batches import mean_teacher
from fewslice.data.batches.contrastive import sample_slices, segmentation_batch
from fewslice.data.batches.mean_teacher import copy_paste_rows, taught_batch, unimatch_rows

COUNTS = (3, 4)


def _volumes(count, seed):
    rng = np.random.default_rng(seed)
    return [
        SimpleNamespace(
            image=rng.uniform(0.1, 1, (5, 16, 16)).astype(np.float32),
            label=rng.integers(0, 3, (5, 16, 16)).astype(np.uint8),
        )
        for _ in range(count)
    ]


LABELLED, OTHERS = _volumes(2, 0), _volumes(4, 1)


def _make(make_rows, seed=0, counts=COUNTS):
    return taught_batch(np.random.default_rng(seed), LABELLED, OTHERS, make_rows, counts=counts, num_classes=3)


@pytest.fixture
def plain(monkeypatch):
    """No affine change, so that slices can be recognised."""
    monkeypatch.setattr(mean_teacher, "random_affine", lambda rng, images, labels: (images.copy(), labels))


def _slices(volumes, sources):
    return np.stack([volumes[volume].image[index] for volume, index in sources])[..., None]


def test_unimatch_rows(plain, monkeypatch):
    """Without jitter a strong view is its slice, with the row before in the box of CutMix."""
    monkeypatch.setattr(mean_teacher, "strong_view", lambda rng, images: images.copy())
    found = _make(unimatch_rows)
    n, u = COUNTS
    assert found.images.shape == (n + 3 * u, 16, 16, 1) and found.images.dtype == np.float32
    np.testing.assert_array_equal(found.images[:n], _slices(LABELLED, found.labelled_sources))
    weak = found.images[n : n + u]
    np.testing.assert_array_equal(weak, _slices(OTHERS, found.unlabelled_sources))
    assert found.targets.shape == (u, 16, 16, 2) and set(np.unique(found.targets)) == {0, 1}
    for view in (0, 1):
        rows = found.images[n + (view + 1) * u :][:u]
        for i, r, c in np.ndindex(u, 16, 16):
            source = i - 1 if found.targets[i, r, c, view] else i
            assert rows[i, r, c, 0] == weak[source, r, c, 0]
    assert (found.targets[..., 0] != found.targets[..., 1]).any(), "the views have boxes of their own"


def test_unimatch_draws_in_the_documented_order(plain):
    """The strong views after everything else: the same generator at the same place gives them again."""
    rng, found = np.random.default_rng(5), _make(unimatch_rows, seed=5)
    known = segmentation_batch(rng, LABELLED, batch_size=3, num_classes=3)
    weak = _slices(OTHERS, sample_slices(rng, [5] * 4, 4))
    np.testing.assert_array_equal(found.images[:7], np.concatenate([known.images, weak]))
    for view, rows in enumerate((found.images[7:11], found.images[11:])):
        strong, outside = strong_view(rng, weak), ~cutmix_boxes(rng, (4, 16, 16))
        np.testing.assert_array_equal(found.targets[..., view], ~outside)
        np.testing.assert_array_equal(rows[outside], strong[outside])
        assert np.abs(rows - weak).max() > 0.05


@pytest.mark.parametrize("counts", [(3, 4), (4, 4), (4, 2)])
def test_copy_paste_rows(plain, counts):
    found = _make(copy_paste_rows, counts=counts)
    n, u = counts
    assert found.images.shape == (n + 2 * u, 16, 16, 1) and found.targets.shape == (u, 16, 16, 4)
    known, mixed, others = found.images[:n], found.images[n : n + u], found.images[n + u :]
    np.testing.assert_array_equal(others, _slices(OTHERS, found.unlabelled_sources))
    for i, r, c in np.ndindex(u, 16, 16):
        if found.targets[i, r, c, 3]:
            assert mixed[i, r, c, 0] == others[i, r, c, 0] and not found.targets[i, r, c, :3].any()
        else:
            assert mixed[i, r, c, 0] == known[i % n, r, c, 0]
            np.testing.assert_array_equal(found.targets[i, r, c, :3], found.labels[i % n, r, c])
    side = copy_paste_boxes(np.random.default_rng(0), (1, 16, 16)).sum()
    shares = found.targets[..., 3].sum(axis=(1, 2))  # first half: all but the box is unlabelled; second half: the box
    assert shares.tolist() == [256 - side] * (u // 2) + [side] * (u - u // 2)


@pytest.mark.parametrize("batch", [unimatch_rows, copy_paste_rows])
def test_is_a_function_of_the_generator_and_leaves_the_volumes(batch):
    before = [volume.image.copy() for volume in OTHERS + LABELLED]
    one, other, third = _make(batch), _make(batch), _make(batch, seed=1)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.images != third.images).any()
    for volume, image in zip(OTHERS + LABELLED, before, strict=True):
        np.testing.assert_array_equal(volume.image, image)
