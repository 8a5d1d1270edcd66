"""The planned recipe from its flags to a prediction, on seven tiny patients.

Expected values: runs compared with each other; the weights that the recipe says count.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from fewslice.learner.trained import find_trained
from tests.train_model import tiny, tiny_al

PLANNED = ("--recipe=planned", "--unet=8,8", "--n_iter=4")


@pytest.fixture
def start(run_script, data, tmp_path):
    """A function that runs a training script and returns its run directory."""
    return lambda script, *flags: run_script(script, *flags)


def test_a_planned_run_resumes_and_predicts_as_it_tests(start, data, tmp_path, monkeypatch):
    whole = start(tiny.BASELINE, *PLANNED)
    config, done = (json.loads((whole / name).read_text()) for name in ("config.json", "DONE"))
    assert (config["normalisation"], config["deep_supervision"], config["lr_schedule"]) == ("instance", 1, "polynomial")
    assert config["report"]["settings"]["recipe"] == "planned" and config["length"] == 4
    best, last = (tiny.weights(whole, name) for name in ("best.npz", "last.npz"))
    assert all((best[name] == last[name]).all() for name in best if name != "record.json")
    assert not any(name.startswith("deep_") for name in best)  # heads that only train
    assert done["best_step"] == 4 and done["val_dice"] == float(tiny.log(whole)[-1]["val_dice"])
    (run,) = find_trained(str(whole))
    assert (run.network.unet, run.network.normalisation) == ("8,8", "instance")
    tiny.assert_predict_repeats(whole, data, tmp_path / "predicted")


def test_pretrained_planned_networks_are_found_by_their_architecture(start):
    pretrained = start(tiny.GLOBAL, "--recipe=planned", "--unet=8,8")
    tuned = start(tiny.ENCODER, *PLANNED)
    found = tiny.weights(tuned, "best.npz")
    assert {name for name in found if name.startswith("enc_")} <= set(tiny.weights(pretrained))
    config = json.loads((tuned / "config.json").read_text())
    assert config["report"]["settings"]["from"] and np.isfinite(float(tiny.log(tuned)[-1]["loss"]))


@pytest.mark.parametrize("method", ["unimatch", "copy_paste"])
def test_joint_training_starts_from_a_planned_baseline(start, method):
    start(tiny.BASELINE, *PLANNED, "--mirroring=0")
    joint = start(tiny.JOINT, f"--method={method}", *PLANNED, "--mirroring=0")
    assert json.loads((joint / "config.json").read_text())["unet"] == "8,8"
    assert 0 <= json.loads((joint / "DONE").read_text())["test_dice"] <= 1


def test_an_experiment_trains_the_planned_network(al_settings, tmp_path):
    network = {"name": "planned_unet", "unet": "8,8", "steps": 16, "val_every": 2, "batch_size": 2, "mirroring": True}
    path = tmp_path / "planned.yml"
    path.write_text(yaml.safe_dump({"name": "planned", "dataset": "tiny", "network": network, "rounds": [4]}))
    tiny.execute(tiny_al.SCRIPT, [f"--config={path}", f"--runs_dir={tmp_path / 'runs'}"])
    folder = tiny.run_dir(tmp_path / "runs", tiny_al.SCRIPT)
    (one,), member = tiny_al.metrics(folder), folder / "rounds" / "000" / "member_0"
    assert one["best_step"] == 4 and one["val_dice"] == pytest.approx(float(tiny.log(member)[-1]["val_dice"]))
    weights = tiny.weights(member, "best.npz")
    assert not any("moving" in name for name in weights), "each image is normalised by itself"
