"""The benchmarks of joint training at tiny size: all run, and the plain step computes what ours does.

Expected values come from the plain network and losses (`benchmarks/plain.py`, `benchmarks/joint_loss.py`), written
apart from the code under test. Nothing is timed.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")

if keras.backend.backend() == "tensorflow":
    from benchmarks import joint, joint_step, pipeline, stages, timing
    from tests.benchmarks.test_benchmarks import copy_weights

    TINY = stages.Sizes(side=64, slices=3, pairs=2, n_pos=2)
ONCE = {"seconds": 0, "most": 1, "warm_up": 0}


@pytest.fixture
def eager():
    """Runs without graphs, which at this size take most of the time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def total(model: keras.Model, losses: dict, batch: tuple) -> float:
    images, targets = batch
    outputs = model(images, training=True)
    return sum(
        weight * float(losses[name](targets[name], outputs[name])) for name, weight in stages.LOSS_WEIGHTS.items()
    )


def test_plain_step_is_ours():
    keras.utils.set_random_seed(0)
    ours, plain = stages.our_network("joint", TINY), stages.plain_network("joint", TINY)
    copy_weights(ours, plain)
    assert len(plain.trainable_variables) == len(ours.trainable_variables)
    batches = {kind: stages.batch("joint", TINY, kind) for kind in ("float32", "plain")}
    images = batches["plain"][0]
    np.testing.assert_array_equal(images, batches["float32"][0])
    wanted, found = ours(images, training=True), plain(images, training=True)
    for name, outputs in wanted.items():
        assert outputs.shape[0] == {"logits": 3, "embeddings": 4}[name]
        atol = 2e-4 * np.abs(outputs).max()
        np.testing.assert_allclose(found[name], outputs, rtol=0, atol=atol)
    wanted = total(ours, stages.our_loss("joint", TINY), batches["float32"])
    found = total(plain, stages.plain_loss("joint", TINY), batches["plain"])
    assert found == pytest.approx(wanted, rel=1e-4)


def test_plain_batches_have_our_layout():
    data = pipeline.volumes(TINY.side)
    ours, plain = joint.our_batches(data, TINY)(0), joint.plain_batches(data, TINY)(0)
    assert ours[0].shape == plain[0].shape == (7, 64, 64, 1)
    assert ours[1]["logits"].shape == plain[1]["logits"].shape == (3, 64, 64, 4)
    packed = plain[1]["embeddings"]
    masks, places = packed[:, :-6].reshape(4, -1, 4), packed[:, -6:].astype(int)  # 3 classes of 2 pixels
    assert ours[1]["embeddings"].shape == (4, 64 * 64 + 6)
    for row in range(4):
        assert masks[row, places[row]].argmax(axis=-1).tolist() == [1, 1, 2, 2, 3, 3]
    assert np.all(masks.sum(axis=-1) == 1)


def test_arithmetic_counts_the_rows_of_each_head():
    """Beside a U-Net of all 7 rows: two 1x1 convolutions of 4 rows more, the last 3x3 one for 4 rows less."""
    found = stages.arithmetic("joint", stages.our_network("joint", TINY), TINY)
    as_unet = stages.Sizes(side=64, slices=7)
    unet = stages.arithmetic("unet", stages.our_network("unet", as_unet), as_unet)
    per_row = 3 * 2 * 64**2  # forward, twice backward; a multiplication and an addition
    assert found - unet == per_row * 4 * (2 * 16 * 16 - 9 * 16 * 4)


def test_share(eager):
    times = joint_step.measure_share("bfloat16", TINY, **ONCE)
    assert list(times) == [joint_step.WHOLE, joint_step.WITHOUT, joint_step.ALONE]
    assert set(joint_step.shares(times)) == {"minima", "median", "alone"}


def test_shares_by_hand():
    times = {
        joint_step.WHOLE: timing.Times(cpu=[10.0, 12.0, 20.0]),
        joint_step.WITHOUT: timing.Times(cpu=[9.0, 9.0, 10.0]),
        joint_step.ALONE: timing.Times(cpu=[2.0, 0.5, 1.0]),
    }
    assert joint_step.shares(times) == pytest.approx({"minima": 0.1, "median": 0.25, "alone": 0.05})


def test_batches():
    times = joint_step.measure_batches(TINY, **ONCE)
    assert [len(times[name].cpu) for name in ("plain", "ours")] == [1, 1]
