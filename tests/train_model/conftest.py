"""The scripts run on the tiny dataset, with small networks that are not compiled."""

from __future__ import annotations

import shutil

import keras
import pytest

from tests.train_model import tiny, tiny_al


@pytest.fixture(scope="module", autouse=True)
def quick_networks():
    """See `tiny.quick_networks`; a test that needs compiled ones asks for `compiled`."""
    with tiny.quick_networks() as patch:
        yield patch


@pytest.fixture
def compiled():
    """TensorFlow compiles functions, as for users."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.fixture
def data(tiny_root, monkeypatch):
    """Points the library of this process to the tiny dataset and puts Keras' precision back afterwards."""
    for name, value in tiny.environment(tiny_root).items():
        monkeypatch.setenv(name, value)
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


@pytest.fixture(scope="session")
def train(tiny_root):
    """A function (runs, *scripts) that runs the scripts one after the other, for fixtures that several tests share."""

    def run(runs, *scripts):
        with tiny.quick_networks() as patch:
            for name, value in tiny.environment(tiny_root).items():
                patch.setenv(name, value)
            for script in scripts:
                tiny.execute(script, tiny.arguments(script, runs))

    return run


@pytest.fixture(scope="session")
def trained_baseline(train, tmp_path_factory):
    """The folder of the baseline's only run, trained once for all tests of this process. Not to be written to."""
    runs = tmp_path_factory.mktemp("baseline")
    train(runs, tiny.BASELINE)
    return tiny.run_dir(runs, tiny.BASELINE)


@pytest.fixture(scope="session")
def with_baseline(trained_baseline):
    """A function (runs) that puts a copy of the trained baseline into a folder of runs, which it returns."""

    def copy(runs):
        shutil.copytree(trained_baseline, runs / "tiny" / tiny.BASELINE / trained_baseline.name)
        return runs

    return copy


@pytest.fixture(scope="module")
def al_settings(tiny_root, tmp_path_factory):
    """Points the library to the tiny dataset with a list for active learning and makes all networks small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSLICE_DATA", str(tiny_root))
        settings = tiny_al.write_settings(tmp_path_factory.mktemp("settings"))
        patch.setenv("FEWSLICE_EXPERIMENTS", str(settings))
        tiny_al.use_small_networks(patch)
        yield settings
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def run_al(al_settings, tmp_path):
    """A function (name, *flags, runs, **experiment) that runs an experiment and returns its run directory."""

    def run(name, *more, runs=tmp_path / "runs", **experiment):
        path = tiny_al.write_experiment(tmp_path / f"{name}.yml", **experiment)
        tiny.execute(tiny_al.SCRIPT, [f"--config={path}", f"--runs_dir={runs}", *more])
        found = list((runs / "tiny" / tiny_al.SCRIPT).glob(f"{name}-*/config.json"))
        return max(found, key=lambda file: file.stat().st_mtime_ns).parent if found else None

    return run
