"""The trainer works with the other backends as well: `fit` lowers the loss, and a run continues exactly.

Each backend needs a process of its own. The tests of losses and models, a U-Net's steps among them, run under JAX by
`KERAS_BACKEND=jax pytest tests/losses tests/models`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not here"))
    for name in ("jax", "torch")
]

FIT = """
import json, sys
import keras, numpy as np
import losses, models, models.layers
from fewslice.core import backend
from fewslice.core.run import Run
from fewslice.train.trainer import Interrupted, Plan, Trainer

root = sys.argv[1]
rng = np.random.default_rng(0)
images = rng.random((8, 32, 32, 1)).astype("float32")
images[:, 8:20, 10:22] += 1
# Rows of the contrastive batch: 2 volumes x 2 views x 2 partitions.
ids = np.array([[v, p, w] for v in range(2) for w in range(2) for p in range(2)], "float32")

def train(folder, n_iter):
    backend.configure(seed=0, mixed_precision=False)
    model = make_small()
    model.compile(keras.optimizers.Adam(1e-3), loss=losses.GlobalContrastive(2, 0.1))
    plan = Plan(make_batch=lambda step: (images, ids), describe_batch=lambda step: [], n_iter=n_iter, segment=2,
                average_decay=0.9)
    with Run(root, "toy", "stage", folder, {}, n_iter=n_iter) as run:
        trainer = Trainer(run, model, plan)
        trainer.train()
    return [row["loss"] for row in trainer.rows], models.read_weights(model)

def make_small():
    inputs = keras.Input((32, 32, 1))
    x = models.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, strides=4, name="conv")(inputs))
    return keras.Model(inputs, keras.layers.Dense(16, name="head")(keras.layers.Flatten()(x)))

rows, calm = train("calm", 6)
train("cut", 3)
_, cut = train("cut", 6)
same = all(np.array_equal(calm[name], cut[name]) for name in calm)
print(json.dumps({"backend": keras.backend.backend(), "loss": rows, "same": same}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_fit_lowers_the_loss_and_continues_exactly(backend, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["backend"] == backend
    assert out["loss"][-1] < out["loss"][0]
    assert out["same"], "a continued run ends with other weights"
