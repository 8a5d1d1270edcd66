"""The benchmarks at tiny size: every one runs, and what ours is compared with computes the same.

Expected values come from the plain reference (`benchmarks/plain.py`), written apart from the code under test.
Nothing is timed.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")

if keras.backend.backend() == "tensorflow":
    from benchmarks import checkpoint, layers, losses, memory_and_start, pipeline, stages, steps, timing

    TINY = stages.Sizes(side=64, slots=2, images=2, slices=3)
NAMES = ("encoder", "decoder", "unet")


@pytest.fixture
def eager():
    """Runs without graphs, which at this size take most of the time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("stage", NAMES)
def test_plain_loss_is_ours(stage):
    _, targets = stages.batch(stage, TINY)
    shape = stages.our_network(stage, TINY).output_shape[1:]
    outputs = np.random.default_rng(1).standard_normal((len(targets), *shape)).astype(np.float32)
    ours = float(stages.our_loss(stage, TINY)(targets, outputs))
    assert float(stages.plain_loss(stage, TINY)(targets, outputs)) == pytest.approx(ours, rel=1e-5)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies by layer and weight; biases, which stand elsewhere in ours, are zero in both."""
    found = {f"{layer.name}/{v.name}": v for layer in source.layers for v in layer.weights}
    for layer in target.layers:
        for variable in layer.weights:
            if variable.name != "bias":
                variable.assign(found[f"{layer.name}/{variable.name}"])


@pytest.mark.parametrize("stage", NAMES)
def test_plain_network_is_ours(stage):
    keras.utils.set_random_seed(0)
    ours, plain = stages.our_network(stage, TINY), stages.plain_network(stage, TINY)
    copy_weights(ours, plain)
    images, _ = stages.batch(stage, TINY)
    wanted, found = ours(images, training=True).numpy(), plain(images, training=True).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())
    assert len(plain.trainable_variables) == len(ours.trainable_variables)


def test_steps(eager):
    times = steps.measure("encoder", ("plain", "bfloat16"), TINY, seconds=0, most=1, warm_up=0)
    assert [len(entry.cpu) for entry in times.values()] == [1, 1]
    assert len(timing.table(times).splitlines()) == 4


def test_losses(eager):
    times, tracing = losses.measure("encoder", "bfloat16", TINY, seconds=0)
    assert set(times) == {"loop", "ours", "step"} and set(tracing) == {"loop", "ours"}


@pytest.mark.parametrize("kind", ("normalisation", "upsampling"))
def test_layers(kind):
    assert len(layers.measure(kind, (2, 8, 8, 4), 4, seconds=0)) == 4


def test_pipeline(eager):
    times = timing.interleave(pipeline.runners("encoder", "float32", TINY, steps=1), seconds=0, most=1, warm_up=0)
    assert set(pipeline.outside(times)) == {"cpu", "wall"}


def test_checkpoint(eager):
    times, size = checkpoint.measure("encoder", "float32", TINY, seconds=0)
    assert set(times) == {"step", "save"} and size > 0


def test_memory_and_start(eager, monkeypatch):
    monkeypatch.setattr(timing, "single_thread", lambda: None)  # too late in this process
    assert set(memory_and_start.measure_here("encoder", "float32", TINY)) == {"cpu_s", "until", "peak_mib"}


def test_ratio_by_hand():
    assert timing.ratio([4.0, 6.0, 9.0], [2.0, 2.0, 3.0]) == (2.0, 3.0)
