"""The plain loop of the pixel contrastive loss computes what ours does, at tiny size. Nothing is timed."""

from __future__ import annotations

import keras
import pytest

from tests.backend import value_and_grad

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")

if keras.backend.backend() == "tensorflow":
    from benchmarks import joint_loss

    TINY = joint_loss.Sizes(pairs=2, side=32, channels=4, n_pos=2)


@pytest.mark.parametrize("exp_no", [0, 1])
def test_plain_loss_is_ours(exp_no):
    import numpy as np

    from losses.pixel_contrastive import PixelContrastive, pixel_targets

    labels, positions, valid, maps = joint_loss.batch(TINY)
    assert valid.all()
    ours, targets = PixelContrastive(exp_no, 4, n_pos=2), pixel_targets(labels, positions, valid)
    plain, masks = joint_loss.PixelLoop(exp_no, positions), np.eye(4, dtype=np.float32)[labels]
    wanted, (gradient,) = value_and_grad(lambda m: ours(targets, m), maps)
    found, (plain_gradient,) = value_and_grad(lambda m: plain(masks, m), maps)
    assert found == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(plain_gradient, gradient, rtol=1e-3, atol=1e-6)


def test_measure():
    times, tracing = joint_loss.measure(0, "bfloat16", TINY, seconds=0)
    assert set(times) == set(tracing) == {"loop", "ours"}
