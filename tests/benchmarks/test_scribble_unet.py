"""The benchmark of the scribble U-Net runs at tiny size. Nothing is timed."""

from __future__ import annotations

import keras
import pytest

from benchmarks import scribble_unet

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")


@pytest.fixture
def eager():
    """Runs without graphs, which at this size take most of the time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_steps_and_batches(eager):
    network = {"widths": (2, 2), "dropout": (0.1, 0.1)}
    times = scribble_unet.measure(8, network=network, seconds=0, most=1, warm_up=0)
    assert list(times) == [
        "1 branch, float32",
        "1 branch, bfloat16",
        "2 branches, float32",
        "2 branches, bfloat16",
        "making a batch",
    ]
    assert all(len(entry.cpu) == 1 for entry in times.values())
