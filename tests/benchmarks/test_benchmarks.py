"""The benchmarks at tiny size: every one runs, and what ours is compared with computes the same.

Expected values come from the plain reference (`benchmarks/plain.py`, `joint_loss.py`, `kcenter.py`, `dense_crf.py`),
written apart from the code under test. Nothing is timed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")

if keras.backend.backend() == "tensorflow":
    from benchmarks import (
        average,
        checkpoint,
        dense_crf,
        joint,
        joint_loss,
        joint_step,
        kcenter,
        layers,
        losses,
        memory_and_start,
        pipeline,
        pool_passes,
        scribble_unet,
        stages,
        steps,
        timing,
    )

    TINY = stages.Sizes(side=64, slots=2, images=2, slices=3, pairs=2, n_pos=2)
    SMALL_LOSS = joint_loss.Sizes(pairs=2, side=32, channels=4, n_pos=2)
ROOT = Path(__file__).parents[2]
ONCE = {"seconds": 0, "most": 1, "warm_up": 0}
BATCH = {"widths": (2, 2), "dropout": (0.1, 0.1)}
SCRIPTS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "app.run(main)" in path.read_text(encoding="utf-8")
)

# Script -> what it measures, at tiny size; each returns times by name.
RUNS = {
    "average": lambda _: average.measure("unet", side=32, batch_size=2, **ONCE)[0],
    "checkpoint": lambda _: checkpoint.measure("encoder", "float32", TINY, seconds=0)[0],
    "dense_crf": lambda _: dense_crf.measure(dense_crf.windows, dense_crf.parameter_set("published"), 8, **ONCE)[0],
    "joint_loss": lambda _: joint_loss.measure(0, "bfloat16", SMALL_LOSS, seconds=0)[0],
    "joint_step": lambda _: (
        joint_step.measure_share("bfloat16", TINY, **ONCE) | joint_step.measure_batches(TINY, **ONCE)
    ),
    "kcenter": lambda _: printed("kcenter", "--units=50", "--columns=4", "--picks=3", "--plain_picks=3"),
    "layers": lambda _: layers.measure("upsampling", (2, 8, 8, 4), 4, seconds=0),
    "losses": lambda _: losses.measure("encoder", "bfloat16", TINY, seconds=0)[0],
    "memory_and_start": lambda _: memory_and_start.measure_here("encoder", "float32", TINY),
    "pipeline": lambda _: timing.interleave(pipeline.runners("unet", "float32", TINY, steps=1), **ONCE),
    "pool_passes": lambda folder: (
        pool_passes.embed(32, 3, 2, "float32", folder=str(folder)) | pool_passes.dropout(16, 3, 2, 2, "float32")
    ),
    "scribble_unet": lambda _: scribble_unet.measure(8, network=BATCH, **ONCE),
    "selection_scale": lambda folder: printed("selection_scale", "--part=mfc", "--units=40", f"--folder={folder}"),
    "steps": lambda _: steps.measure("joint", ("plain", "bfloat16"), TINY, **ONCE),
}


def printed(script: str, *arguments: str) -> dict[str, str]:
    """Returns what a script of its own process prints, by line."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *arguments]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {line: line for line in text.splitlines()}


@pytest.fixture
def eager():
    """Runs without graphs, which at this size take most of the time."""
    import tensorflow as tf

    policy = keras.config.dtype_policy()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_runs(script, eager, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "single_thread", lambda: None)  # too late in this process
    found = RUNS[script](tmp_path)
    assert found and all(found.values())


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies by layer and weight; biases, which stand elsewhere in ours, are zero in both."""
    found = {f"{layer.name}/{v.name}": v for layer in source.layers for v in layer.weights}
    for layer in target.layers:
        for variable in layer.weights:
            if variable.name != "bias":
                variable.assign(found[f"{layer.name}/{variable.name}"])


@pytest.mark.parametrize("stage", ["encoder", "decoder", "unet", "joint"])
def test_plain_networks_and_losses_are_ours(stage):
    keras.utils.set_random_seed(0)
    ours, plain = stages.our_network(stage, TINY), stages.plain_network(stage, TINY)
    copy_weights(ours, plain)
    assert len(plain.trainable_variables) == len(ours.trainable_variables)
    (images, targets), (_, plain_targets) = (stages.batch(stage, TINY, kind) for kind in ("float32", "plain"))
    wanted, found = ours(images, training=True), plain(images, training=True)
    our_loss, plain_loss = stages.our_loss(stage, TINY), stages.plain_loss(stage, TINY)
    if stage != "joint":
        wanted, found, targets, plain_targets = ({"": each} for each in (wanted, found, targets, plain_targets))
        our_loss, plain_loss = {"": our_loss}, {"": plain_loss}
    for name, outputs in wanted.items():
        np.testing.assert_allclose(found[name], outputs, rtol=0, atol=2e-4 * np.abs(outputs).max())
        value = float(our_loss[name](targets[name], outputs))
        assert float(plain_loss[name](plain_targets[name], outputs)) == pytest.approx(value, rel=1e-4)


def test_plain_batches_of_joint_training_have_our_layout():
    data = pipeline.volumes(TINY.side)
    ours, plain = joint.our_batches(data, TINY)(0), joint.plain_batches(data, TINY)(0)
    assert ours[0].shape == plain[0].shape == (7, 64, 64, 1)
    assert ours[1]["logits"].shape == plain[1]["logits"].shape == (3, 64, 64, 4)


@pytest.mark.parametrize("plain", ["windows", "pairwise"])
def test_plain_mean_field_is_ours(plain):
    import dataclasses

    parameters = dataclasses.replace(dense_crf.parameter_set("corrected"), iterations=3)
    difference = dense_crf.measure(getattr(dense_crf, plain), parameters, 14, **ONCE)[1]
    assert difference < 5e-3  # windows leave out what lies beyond 3 sigma


@pytest.mark.parametrize("part", ["clusters", "normal", "mfc"])
def test_plain_picks_are_ours(part, tmp_path):
    if part == "mfc":
        kcenter.random_pool(tmp_path, 12, "uint8")
        pool = kcenter.open_pool(tmp_path)
        assert kcenter.choose_by_mfc(pool, 6) == kcenter.plain(lambda centre: kcenter.plain_mfc(*pool, centre), 0, 6)
        return
    features = kcenter.random_features(part, 300, 8)
    wanted = kcenter.plain(lambda centre: kcenter.squares_float64(features, centre), 0, 40)
    assert kcenter.choose_by_embedding(features, 40) == wanted


def test_ratios_and_shares_by_hand():
    assert timing.ratio([4.0, 6.0, 9.0], [2.0, 2.0, 3.0]) == (2.0, 3.0)
    times = {
        joint_step.WHOLE: timing.Times(cpu=[10.0, 12.0, 20.0]),
        joint_step.WITHOUT: timing.Times(cpu=[9.0, 9.0, 10.0]),
        joint_step.ALONE: timing.Times(cpu=[2.0, 0.5, 1.0]),
    }
    assert joint_step.shares(times) == pytest.approx({"minima": 0.1, "median": 0.25, "alone": 0.05})
