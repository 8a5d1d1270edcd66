"""The benchmarks at tiny size: every one runs, and what is written plainly computes the same as ours.

Expected values come from `tests/reference/plain_*.py`, written apart from the code under test. Nothing is timed.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")

if keras.backend.backend() == "tensorflow":
    from benchmarks import cases, harness, stages  # noqa: F401
BENCHMARKS = harness.BENCHMARKS if keras.backend.backend() == "tensorflow" else {}


@pytest.fixture
def eager(monkeypatch):
    """Runs without graphs, which at this size take most of the time, and U-Nets of three levels."""
    import tensorflow as tf

    import models.unet

    monkeypatch.setattr(models.unet, "ENCODER_FILTERS", (16,) * 3)

    policy = keras.config.dtype_policy()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_runs(name, eager, tmp_path):
    entry = BENCHMARKS[name]
    work = entry.work(tmp_path, **entry.tiny)
    if entry.has_memory:
        assert all(text in harness.watched(work) for text in work.functions)
        return
    times = harness.interleave(work.functions, seconds=0, rounds=1, warm_up=0)
    assert harness.table(times, work.count).count("\n") == len(work.functions) + 1


def test_command_measures_each_combination(capfd):
    harness.main(["kcenter", "--units=30", "--columns=4", "--picks=3", "--kind=normal,clusters"])
    text = capfd.readouterr().out
    assert text.count("kcenter kind=") == 2 and text.count("ours: ") == 2
    with pytest.raises(SystemExit):
        harness.parse(["steps", "--stage=encodre"])
    assert "must be of encoder, decoder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "side", "rows"), [("group", 32, 12), ("joint", 32, 4), ("scribble", 16, 2), ("dmpls", 16, 2)]
)
def test_batches_fit_network_and_loss(name, side, rows, eager):
    prepared = stages.stage(name, side, rows)
    assert np.isfinite(prepared.compiled("float32").train_on_batch(*prepared.batches(0))).all()


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies by layer and weight; biases, which stand elsewhere in ours, are zero in both."""
    found = {f"{layer.name}/{v.name}": v for layer in source.layers for v in layer.weights}
    for layer in target.layers:
        for variable in layer.weights:
            if variable.name != "bias":
                variable.assign(found[f"{layer.name}/{variable.name}"])
    for layer in (*source.layers, *target.layers):
        if isinstance(layer, keras.layers.Dropout):  # random
            layer.rate = 0.0


@pytest.mark.parametrize(("name", "rows"), [("encoder", 16), ("decoder", 4), ("unet", 3), ("strided", 4)])
def test_plain_networks_and_losses_are_ours(name, rows):
    prepared = stages.stage(name, 64, rows)
    ours, plain = prepared.compiled("float32"), prepared.compiled("plain")
    copy_weights(ours, plain)
    assert len(plain.trainable_variables) == len(ours.trainable_variables)
    images, targets = prepared.batches(0)
    expected = ours(images, training=True)
    np.testing.assert_allclose(plain(images, training=True), expected, rtol=0, atol=2e-4 * np.abs(expected).max())
    assert float(plain.loss(targets, expected)) == pytest.approx(float(ours.loss(targets, expected)), rel=1e-4)


@pytest.mark.parametrize(("name", "options"), [("kcenter", {}), ("kcenter", {"kind": "normal"}), ("mfc", {})])
def test_plain_picks_are_ours(name, options, tmp_path):
    options = BENCHMARKS[name].tiny | options
    ours, plain = (BENCHMARKS[name].work(tmp_path, **options, way=way).functions[way]() for way in ("ours", "plain"))
    assert ours == plain


def test_ratios_by_hand():
    assert harness.ratios([4.0, 6.0, 9.0], [2.0, 2.0, 3.0]) == (2.0, 3.0)
