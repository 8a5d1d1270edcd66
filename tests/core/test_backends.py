"""The trainer works with the other backends as well: `fit` lowers the loss, and a run continues exactly.

A process has one backend. JAX is that of the first part of `make test`; PyTorch gets a process where it is installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import losses
import models
from fewslice.core import backend
from fewslice.core.run import Run
from fewslice.train.trainer import Plan, Trainer
from models.layers import BatchNormalization

ROOT = Path(__file__).resolve().parents[2]
ACTIVE = keras.backend.backend()


@pytest.mark.skipif(ACTIVE == "tensorflow", reason="tests/train shows it")
def test_fit_lowers_the_loss_and_continues_exactly(tmp_path):
    rows, calm = train(tmp_path, "calm", 6)
    assert rows[-1] < rows[0]
    train(tmp_path, "cut", 3)
    _, cut = train(tmp_path, "cut", 6)
    different = [name for name in calm if not np.array_equal(calm[name], cut[name])]
    assert not different, "a continued run ends with other weights"


def train(root, folder, n_iter):
    rng = np.random.default_rng(0)
    images = rng.random((8, 32, 32, 1)).astype("float32")
    images[:, 8:20, 10:22] += 1
    # Rows of the contrastive batch: 2 volumes x 2 views x 2 partitions.
    ids = np.array([[v, p, w] for v in range(2) for w in range(2) for p in range(2)], "float32")
    backend.configure(seed=0, mixed_precision=False)
    model = make_small()
    model.compile(keras.optimizers.Adam(1e-3), loss=losses.GlobalContrastive(2, 0.1))
    batches = {"make_batch": lambda step: (images, ids), "describe_batch": lambda step: []}
    plan = Plan(**batches, n_iter=n_iter, segment=2, average_decay=0.9)
    with Run(root, "toy", "stage", folder, {}, n_iter=n_iter) as run:
        trainer = Trainer(run, model, plan)
        trainer.train()
    return [row["loss"] for row in trainer.rows], models.read_weights(model)


def make_small():
    inputs = keras.Input((32, 32, 1))
    x = BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, strides=4, name="conv")(inputs))
    return keras.Model(inputs, keras.layers.Dense(16, name="head")(keras.layers.Flatten()(x)))


@pytest.mark.slow
@pytest.mark.skipif(ACTIVE == "torch" or not importlib.util.find_spec("torch"), reason="PyTorch is not here")
def test_the_same_under_pytorch():
    command, environment = [sys.executable, "-m", "pytest", "-k", "fit_lowers", __file__], {"KERAS_BACKEND": "torch"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
