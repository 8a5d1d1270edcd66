"""The tiny dataset, and the scripts run on it."""

from __future__ import annotations

import keras
import pytest

from tests.train_model import tiny


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """The data root with the tiny dataset, its settings in `experiments/`."""
    return tiny.write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def data(tiny_root, monkeypatch):
    """Points the library of this process to the tiny dataset and puts Keras' precision back afterwards."""
    monkeypatch.setenv("FEWSLICE_DATA", str(tiny_root))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_root / "experiments"))
    yield tiny_root
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def run_script(data, tmp_path):
    """A function (script, *flags) that runs the script in this process and returns its run directory."""

    def run(script, *more, runs=tmp_path / "runs"):
        tiny.execute(script, tiny.arguments(script, runs, *more))
        folders = [path for path in (runs / "tiny" / script).iterdir() if path.is_dir()]
        return max(folders, key=lambda path: path.stat().st_mtime_ns)

    return run
