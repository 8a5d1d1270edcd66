"""The contract that every registered kind of features keeps. Expected values: the pool itself."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import models
from fewslice.active.pool import SLICES, open_pool
from fewslice.core import checkpoint
from fewslice.core.options import options_of
from fewslice.data.cache import open_cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.learner.kinds import FEATURES, Inputs
from fewslice.learner.networks import network_of
from fewslice.settings import datasets
from fewslice.settings.experiment import Named
from fewslice.train.encoder_runs import RESNET, EncoderRun
from tests.train_model import tiny_al

SIZES = {"pixels": 32 * 32, "encoder": 16, "predictions": 32 * 32 * 3, "encoder_map": 16 * 16 * 4, "pooled_map": 4}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A small encoder as a run, and a small segmentation network."""
    folder = tmp_path_factory.mktemp("encoder")
    with pytest.MonkeyPatch.context() as patch:
        tiny_al.use_small_networks(patch)
        encoder = models.build_group_encoder((32, 32, 1), depth=18, projection_size=4)
        checkpoint.save_arrays(folder / "last.npz", models.read_weights(encoder), {"step": 1})
        run = EncoderRun(folder, folder / "last.npz", {"encoder": "resnet18", "projection_dim": 4}, RESNET)
        network = network_of(Named("dmpls"))
        yield run, (network, network.build((32, 32, 1), 3, seed=0))


@pytest.fixture
def make_inputs(tiny_root, monkeypatch, networks, tmp_path):
    """A function (patients, asked) -> inputs of their slices in a folder of its own; `asked` notes the calls."""
    monkeypatch.setenv("FEWSLICE_DATA", str(tiny_root))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_root / "experiments"))
    dataset = datasets.load_dataset_config("tiny", {})
    keras.config.set_dtype_policy("float32")

    def make(patients, asked):
        cases = find_cases(get_reader(dataset), patients, ("ED",))
        volumes = open_cache(dataset, cases, with_label=False, progress=False)
        folder = tmp_path / "_".join(patients)
        return Inputs(
            volumes,
            open_pool(volumes, SLICES),
            dataset,
            folder,
            lambda: asked.append("encoder") or networks[0],
            lambda: asked.append("network") or networks[1],
            batch_size=3,
        )

    return make


@pytest.mark.parametrize("name", FEATURES.names())
def test_a_finite_row_for_every_slice(name, make_inputs):
    asked, kind = [], FEATURES.get(name)
    options = {name: value for name, value in (("level", 1), ("batch_size", 3)) if name in options_of(kind)}
    inputs = make_inputs(["001", "002"], asked)
    found = np.array(kind(inputs, **options))
    assert found.shape == (len(inputs.images), SIZES[name]) and found.dtype.kind == "f" and np.isfinite(found).all()
    assert asked == ["encoder"] * kind.needs_encoder + ["network"] * kind.needs_network
    assert np.array_equal(found, kind(inputs, **options)), "a round that was interrupted asks again"
    swapped = np.array(kind(make_inputs(["002", "001"], []), **options))
    count = len(inputs.volumes[0].image)
    np.testing.assert_allclose(swapped, np.roll(found, -count, axis=0), atol=2e-3)
    assert len(np.unique(found, axis=0)) == len(found), "slices differ"


def test_pixels_are_the_images(make_inputs):
    inputs = make_inputs(["001"], [])
    found = FEATURES.get("pixels")(inputs)
    np.testing.assert_array_equal(found, inputs.images.take(range(len(found))).reshape(len(found), -1))


def test_predictions_are_probabilities(make_inputs):
    found = np.array(FEATURES.get("predictions")(make_inputs(["001"], [])), np.float32)
    np.testing.assert_allclose(found.reshape(len(found), 32 * 32, 3).sum(axis=-1), 1, atol=2e-3)


def test_pooled_map_is_the_mean_of_the_map(make_inputs):
    whole = np.array(FEATURES.get("encoder_map")(make_inputs(["001"], []), level=1), np.float32)
    pooled = FEATURES.get("pooled_map")(make_inputs(["001"], []), level=1)
    np.testing.assert_allclose(pooled, whole.reshape(len(whole), -1, 4).mean(axis=1), atol=2e-3)
