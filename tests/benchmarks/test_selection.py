"""The benchmarks of choosing units at tiny size: all run, and what ours is compared with chooses the same.

Expected picks come from the plain update per pick in `benchmarks/kcenter.py`. Nothing is timed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import kcenter, pool_passes

ROOT = Path(__file__).parents[2]
FIGURES = {"wall", "cpu", "allocated", "peak", "growth"}


@pytest.mark.parametrize("kind", ["clusters", "normal"])
def test_plain_picks_are_ours(kind, tmp_path):
    features = kcenter.random_features(kind, 300, 8, tmp_path / "features.npy")
    np.testing.assert_array_equal(features, kcenter.random_features(kind, 300, 8))
    wanted = kcenter.plain(lambda centre: kcenter.squares_float64(features, centre), 0, 40)
    assert kcenter.choose_by_embedding(features, 40) == wanted


@pytest.mark.parametrize("pixel_type", ["uint8", "float16"])
def test_plain_mfc_picks_are_ours(pixel_type, tmp_path):
    kcenter.random_pool(tmp_path, 12, pixel_type)
    pool = kcenter.open_pool(tmp_path)
    wanted = kcenter.plain(lambda centre: kcenter.plain_mfc(*pool, centre), 0, 6)
    assert kcenter.choose_by_mfc(pool, 6) == wanted


@pytest.fixture
def eager():
    """Runs without graphs, which at this size take most of the time."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="benchmarks measure TensorFlow")
def test_passes_over_a_pool(eager, tmp_path):
    policy = keras.config.dtype_policy()
    assert set(pool_passes.embed(32, 3, 2, "float32", folder=str(tmp_path))) == FIGURES
    assert set(pool_passes.dropout(16, 3, 2, 2, "float32")) == FIGURES
    keras.config.set_dtype_policy(policy)


BLOCK = """
import json
import numpy as np
from benchmarks import fresh

with fresh.Watch() as watch:
    kept = np.ones(16 << 20, np.uint8)
    watch.stopped.wait(0.1)
print(json.dumps(watch.figures()))
"""


def test_memory_of_a_block():
    """In a process of its own: in one that has run other things, the block may lie where memory was freed before."""
    printed = subprocess.run([sys.executable, "-c", BLOCK], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed)
    assert 14 < found["allocated"] < 40 and 14 < found["growth"] < 40 and found["growth"] <= found["peak"]
