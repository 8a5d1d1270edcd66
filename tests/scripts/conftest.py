"""Small networks that are not compiled, and runs of such networks, for the scripts that apply them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from absl import logging

import models.unet
from fewslice.core import files
from tests.scripts import trained_runs
from tests.train_model import tiny, tiny_al


@pytest.fixture(scope="module")
def small_networks(tiny_root):
    """Networks of a few channels, each of which is loaded once, and the settings of the tiny dataset."""
    from fewslice.learner import learner

    load, loaded = learner.load_network, {}

    def load_once(network, dataset, weights):
        key = (files.sha256(weights), dataset.size, dataset.num_channels)
        if key not in loaded:
            loaded[key] = load(network, dataset, weights)
        return loaded[key]

    with tiny.quick_networks() as patch:
        for name, value in tiny.environment(tiny_root).items():
            patch.setenv(name, value)
        tiny_al.use_small_networks(patch)
        logging.set_verbosity(logging.INFO)
        patch.setattr(models.unet, "ENCODER_FILTERS", (4,) * 3)
        patch.setattr(learner, "load_network", load_once)
        yield patch


@pytest.fixture(scope="module")
def house(small_networks, tmp_path_factory):
    """Folders of runs and of scans."""
    root = tmp_path_factory.mktemp("trained")
    trainings, scans = root / "runs" / "tiny" / tiny.BASELINE, root / "scans"
    a = trained_runs.write_training(trainings / "a")
    trained_runs.like(a, trainings / "b", weights={"step": 5})
    one = trained_runs.write_scan(scans / "one.nii.gz", shape=(30, 34, 2))
    trained_runs.write_scan(scans / "two.nii.gz", 1, shape=(51, 40, 1), spacing=(0.8, 0.9, 5.0))
    trained_runs.turned(one, scans / "three.nii.gz", (2, -1, -3))
    experiment = trained_runs.write_experiment(root / "experiment")
    return SimpleNamespace(root=root, trainings=trainings, a=a, experiment=experiment, scans=scans)
