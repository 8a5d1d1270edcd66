"""Importing Keras: what a user's keras.json says changes no result, and a backend that is not there is one message."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from fewslice.core import backend
from fewslice.core.errors import ConfigError

LOAD = """
from fewslice.core import app, backend
def main(_):
    backend.load()
    import keras
    print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
app.run(main)
"""


def test_load_sets_all_that_keras_json_may_say(monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("floatx", "epsilon", "image_data_format"):
            patch.setattr(keras.src.backend.config, f"_{name.upper()}", None)
        keras.config.set_max_epochs(1)
        keras.config.set_floatx("float16")
        keras.config.set_image_data_format("channels_first")
        backend.load()
        assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
        assert keras.config.image_data_format() == "channels_last"
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        assert len(model.fit(np.ones((2, 1)), np.ones((2, 1)), epochs=2, verbose=0).epoch) == 2


def test_backend_without_training_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(ConfigError, match=r"it trains no networks: numpy. .* `backend` in ~/.keras/keras.json"):
        backend.load()


@pytest.mark.parametrize(
    "content, variable, message",
    [
        ({}, "garbage", "Unable to import backend : garbage. The backend is named by KERAS_BACKEND=garbage."),
        ({"backend": "garbage"}, "", "garbage. The backend is named by `backend` in "),
        ({"floatx": "float17"}, "", "keras.json\n  expected: settings that Keras knows\n  found:    Invalid "),
        (None, "", "keras.json\n  expected: a file that you may use\n  found:    a pipe"),
        ([], "", "keras.json\n  expected: a table in JSON\n  found:    a list\n  remedy:   Correct"),
    ],
)
def test_what_keras_json_says_wrongly_is_one_message(tmp_path, content, variable, message):
    if content is None:
        os.mkfifo(tmp_path / "keras.json")
    else:
        (tmp_path / "keras.json").write_text(json.dumps(content))
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": variable}
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_limit_of_memory_is_told_before_it_is_met(monkeypatch):
    monkeypatch.setattr(backend.resource, "getrlimit", lambda _: (600_000 * 1024, -1))
    with pytest.raises(ConfigError, match=r"limited to 0.6 GiB \(ulimit -v\), and a network needs 2 GiB or more"):
        backend.load()


def test_the_log_names_the_device_and_warns_of_two_tensorflows(caplog, monkeypatch):
    backend._log_device.cache_clear()
    monkeypatch.setattr(backend, "_installed", lambda: {"tensorflow": "2.21.0", "tensorflow-cpu": "2.21.0"})
    with caplog.at_level("INFO"):
        backend.configure(seed=0, mixed_precision=False)
        backend.configure(seed=0, mixed_precision=False)
    device, warning = (record.getMessage() for record in caplog.records)
    assert device.startswith("Device: ") and "tensorflow 2.21.0" in device
    assert "overwrite each other's files" in warning
