"""Expected values: golden files, and properties of the rules in the paper."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment import segmentation
from fewslice.augment.intensity import brightness_contrast
from fewslice.augment.segmentation import (
    SegmentationAugmentation,
    augment_segmentation_batch,
    draw_split,
    mix_from,
    one_hot,
)
from fewslice.core.errors import ConfigError
from tests.golden_files import golden_param


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "rand_augs_split*.npz"))
def test_golden(path):
    """The published code dropped the intensity change; with it (ours, the paper) the later rows differ."""
    data = np.load(path)
    split = int(data["split"])
    images = data["img_u8_div128"].astype(np.float32) / 128
    onehot = one_hot(data["label"], data["out_label"].shape[-1])
    fields = np.moveaxis(data["flow"], -1, 1)[split:]
    mixed, mixed_onehot = images.copy(), onehot.copy()
    mix_from(mixed, mixed_onehot, split=split, fields=fields, intensity=None)
    np.testing.assert_allclose(mixed, data["out_img"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(mixed_onehot, data["out_label"], rtol=0, atol=1e-5)

    rows = len(images) - split
    intensity = np.full(rows, 0.05, np.float32), np.full(rows, 0.9, np.float32)
    mix_from(images, onehot, split=split, fields=fields, intensity=intensity)
    np.testing.assert_allclose(onehot, data["out_label"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(images[:split], mixed[:split])
    np.testing.assert_allclose(images[split:], brightness_contrast(mixed[split:], *intensity), atol=1e-6)
    assert (np.abs(images[split:] - data["out_img"][split:]).max(axis=(1, 2, 3)) > 0.01).all()


def _batch(batch=20, side=32, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.1, 1, (batch, side, side, 1)).astype(np.float32)
    return images, rng.integers(0, classes, (batch, side, side)).astype(np.uint8)


def _run(seed, images, labels, classes=4, **kwargs):
    settings = SegmentationAugmentation(**kwargs)
    return augment_segmentation_batch(np.random.default_rng(seed), images, labels, classes, settings=settings)


@pytest.fixture
def plain(monkeypatch):
    """No affine change, so that slices can be recognised."""
    monkeypatch.setattr(segmentation, "random_affine", lambda rng, images, labels: (images.copy(), labels))


@pytest.mark.parametrize("batch, classes", [(1, 2), (2, 3), (3, 4), (20, 8)])
def test_shapes_and_distributions(batch, classes):
    images, labels = _batch(batch, classes=classes)
    for seed in range(5):
        out, onehot = _run(seed, images, labels, classes)
        assert out.shape == images.shape and out.dtype == np.float32
        assert onehot.shape == (*labels.shape, classes) and onehot.dtype == np.float32
        np.testing.assert_allclose(onehot.sum(-1), 1, atol=1e-6)
        assert onehot.min() >= 0


def test_leading_rows_keep_image_and_hard_label(plain):
    images, labels = _batch()
    splits = set()
    for seed in range(60):
        out, onehot = _run(seed, images, labels)
        is_kept = (out == images).all(axis=(1, 2, 3))
        split = int(np.argmin(is_kept))
        splits.add(split)
        assert is_kept[:split].all() and not is_kept[split:].any()
        np.testing.assert_array_equal(onehot[:split], one_hot(labels[:split], 4))
        assert ((onehot[split:] > 0) & (onehot[split:] < 1)).any(axis=(1, 2, 3)).all()
    assert min(splits) >= 1 and max(splits) <= 18 and len(splits) > 10


def test_intensity_reaches_the_deformed_rows():
    """With and without, by the same generator: labels are equal, images related by contrast or brightness."""
    images, labels = _batch()
    both, onehot = _run(3, images, labels)
    deformed, onehot_too = _run(3, images, labels, ri_en=False)
    np.testing.assert_array_equal(onehot, onehot_too)
    differs = np.abs(both - deformed).max(axis=(1, 2, 3)) > 1e-4
    assert differs.any()
    for row in np.flatnonzero(differs):
        slope, _ = np.polyfit(deformed[row].ravel(), both[row].ravel(), 1)
        assert slope == pytest.approx(1, abs=1e-4) if row >= 10 else 0.8 <= slope <= 1.2


def test_intensity_per_image_and_stronger_ones_change_nothing_but_intensities():
    images, labels = _batch()
    shared, onehot = _run(3, images, labels)
    each, onehot_each = _run(3, images, labels, per_image=True)
    strong, onehot_strong = _run(3, images, labels, strong=True)
    np.testing.assert_array_equal(onehot, onehot_each)
    np.testing.assert_array_equal(onehot, onehot_strong)
    changed = np.abs(strong - shared).max(axis=(1, 2, 3)) > 1e-4
    assert changed.any() and not (changed & np.isin(onehot, [0, 1]).all(axis=(1, 2, 3))).any()  # deformed rows only
    deformed, _ = _run(3, images, labels, ri_en=False)
    offsets = [np.median(out[10:] - deformed[10:], axis=(1, 2, 3)) for out in (shared, each)]
    assert np.ptp(offsets[0][offsets[0] != 0]) < 1e-5
    each_offset = offsets[1][offsets[1] != 0]
    assert len(each_offset) > 1 and np.diff(np.sort(each_offset)).min() > 1e-4


@pytest.mark.parametrize("batch, lowest, highest", [(1, 0, 1), (2, 0, 2), (3, 1, 1), (20, 1, 18)])
def test_split_range(batch, lowest, highest):
    rng = np.random.default_rng(0)
    drawn = {draw_split(rng, batch) for _ in range(600)}
    assert drawn == set(range(lowest, highest + 1))


@pytest.mark.parametrize("value", [5, -1])
def test_unknown_label(value):
    images, labels = _batch()
    labels = labels.astype(np.int32)
    labels[0, 0, 0] = value
    with pytest.raises(ConfigError, match=r"Labels must lie in 0 to 3 .*label_map"):
        _run(0, images, labels)


@pytest.mark.parametrize("kwargs", [{"rd_ni": False}, {"rd_en": False, "ri_en": False}, {"rd_en": False}])
def test_without_deformation_labels_stay_hard(plain, kwargs):
    images, labels = _batch()
    out, onehot = _run(0, images, labels, **kwargs)
    np.testing.assert_array_equal(onehot, one_hot(labels, 4))
    assert (out != images).any() == (kwargs == {"rd_en": False})
