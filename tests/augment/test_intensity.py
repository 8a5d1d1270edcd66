"""Expected values: golden files, the loops in tests/reference/augment.py, and ranges from the paper."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.intensity import (
    PRETRAINING_CLIP,
    brightness_contrast,
    draw_finetuning,
    pretraining_intensity,
)
from tests.golden_files import golden_param
from tests.reference import augment as reference


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "intensity_pretrain*.npz"))
def test_golden_pretraining(path):
    data = np.load(path)
    images = data["img_u8_div128"].astype(np.float32) / 128
    delta, factor = float(data["delta"]), float(data["factor"])
    np.testing.assert_allclose(brightness_contrast(images, delta, 1.0), data["rd_brit"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(brightness_contrast(images, delta, factor), data["rd_cont"], rtol=0, atol=1e-6)
    final = brightness_contrast(images, delta, factor, clip=PRETRAINING_CLIP)
    np.testing.assert_allclose(final, data["rd_fin"], rtol=0, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "intensity_finetune*.npz"))
def test_golden_finetuning(path):
    data = np.load(path)
    images = data["img_u8_div128"].astype(np.float32) / 128
    delta, factor = float(data["delta"]), float(data["factor"])
    np.testing.assert_allclose(brightness_contrast(images, delta, 1.0), data["rd_brit"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(brightness_contrast(images, 0.0, factor), data["rd_cont"], rtol=0, atol=1e-6)
    first_half = np.arange(len(images)) < len(images) / 2
    final = brightness_contrast(images, np.where(first_half, 0, delta), np.where(first_half, factor, 1))
    np.testing.assert_allclose(final, data["rd_fin"], rtol=0, atol=1e-6)


def test_same_as_loops():
    rng = np.random.default_rng(0)
    images = rng.random((4, 7, 9, 1), dtype=np.float32)
    delta, factor = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    out = brightness_contrast(images, delta, factor)
    assert out.dtype == np.float32
    for index in range(4):
        expected = reference.brightness_contrast(images[index], delta[index], factor[index])
        np.testing.assert_allclose(out[index], expected, atol=1e-6)


def _recover(images, out):
    """Returns (delta, factor) of each row from the change of mean and of spread."""
    factor = out.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    return out.mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3)), factor


@pytest.mark.parametrize("per_image, draws, distinct", [(False, 1, 1), (False, 2, 2), (True, 1, 6)])
def test_pretraining_ranges_and_sharing(per_image, draws, distinct):
    images = np.random.default_rng(0).uniform(0.6, 0.8, (6, 8, 8, 1)).astype(np.float32)
    for seed in range(30):
        out = pretraining_intensity(np.random.default_rng(seed), images, per_image=per_image, draws=draws)
        delta, factor = _recover(images, out)
        assert (np.abs(delta) <= 0.3001).all() and (factor > 0.6999).all() and (factor < 1.3001).all()
        assert len(np.unique(delta.round(4))) == distinct
        if draws == 2:
            assert len(np.unique(delta[:3].round(4))) == 1


def test_brightness_and_contrast_are_independent():
    """The published code tied them: factor = 1 + delta."""
    images = np.random.default_rng(0).uniform(0.6, 0.8, (1, 8, 8, 1)).astype(np.float32)
    pairs = [_recover(images, pretraining_intensity(np.random.default_rng(seed), images)) for seed in range(200)]
    delta, factor = np.array(pairs)[:, :, 0].T
    assert abs(np.corrcoef(delta, factor)[0, 1]) < 0.2
    clipped = pretraining_intensity(np.random.default_rng(0), 100 * (images - 0.7))
    assert clipped.min() == 0 and clipped.max() == 1.5


@pytest.mark.parametrize("batch, halves", [(4, 2), (5, 3), (1, 1)])
def test_finetuning_halves(batch, halves):
    """Rows < batch / 2 change in contrast only, the others in brightness only."""
    for seed in range(20):
        delta, factor = draw_finetuning(np.random.default_rng(seed), batch)
        assert (delta[:halves] == 0).all() and (factor[halves:] == 1).all()
        assert (np.abs(factor - 1) <= 0.2001).all() and (np.abs(delta) <= 0.1001).all()
        assert (factor[:halves] == factor[0]).all()
    images = np.random.default_rng(0).random((batch, 8, 8, 1), dtype=np.float32)
    out = brightness_contrast(images, delta, factor)
    means = images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), means + delta, atol=1e-6)
