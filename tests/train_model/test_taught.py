"""UniMatch and copy-paste from their flags to their results, on seven tiny patients."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import losses
import models
from fewslice.core import checkpoint
from fewslice.core.errors import TrainingError
from fewslice.train import trainer
from fewslice.train.trainer import Interrupted
from tests.train_model import tiny

METHODS = ("unimatch", "copy_paste")


@pytest.fixture
def joint(with_baseline, run_script, tmp_path):
    with_baseline(tmp_path / "runs")
    return lambda *flags: run_script(tiny.JOINT, *flags)


def test_a_run_learns_from_both_and_a_stopped_one_ends_the_same(joint, data, tmp_path, monkeypatch):
    """Unlabelled loss in the log, no rounds of pseudo-labels, scores at the end; dropout and teacher resume exactly.

    What a kill after 2 steps had left is copied on the way, and continued.
    """
    flags = ("--method=unimatch", "--unlabelled_bs=3", "--confidence=0.3", "--n_iter=4")
    real, steps = trainer.Trainer._segment, []

    def copying(self, stop):
        steps.append(self.step)
        if self.step == 2 and not (tmp_path / "stopped").exists():
            shutil.copytree(self.run.dir, tmp_path / "stopped")
        real(self, stop)

    monkeypatch.setattr(trainer.Trainer, "_segment", copying)
    whole = joint(*flags)
    assert whole.name.startswith("tr1_c1_unimatch_s0-")
    rows = tiny.log(whole)
    assert [int(row["step"]) for row in rows] == [2, 4]
    for row in rows:
        assert 0 <= float(row["val_confident"]) <= 1
        assert float(row["loss"]) == pytest.approx(float(row["logits_loss"]) + float(row["consistency_loss"]), rel=1e-5)
        assert float(row["consistency_loss"]) > 0 and "val_dice_raw" in row
    assert not (whole / "pseudo_labels").exists()
    config = json.loads((whole / "config.json").read_text())
    assert config["teacher_stage"] == config["start_stage"] == tiny.BASELINE
    assert not any("ema_" in name for name in [*tiny.weights(whole, "best.npz"), *tiny.weights(whole, "last.npz")])
    assert 0 <= json.loads((whole / "DONE").read_text())["test_dice"] <= 1
    tiny.assert_predict_repeats(whole, data, tmp_path / "predicted")
    shutil.move(whole, tmp_path / "whole")
    shutil.move(tmp_path / "stopped", whole)
    tiny.assert_same_run(joint(*flags), tmp_path / "whole")
    assert steps == [0, 2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_starts_from_the_whole_baseline_and_so_does_its_teacher(joint, trained_baseline, trainers, method):
    with pytest.raises(Interrupted):
        joint(f"--method={method}")
    weights, _ = checkpoint.load_arrays(trained_baseline / "checkpoints" / "best.npz")
    assert_network_and_teacher(trainers[0].model, weights)


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that were made; none of them trains."""
    seen = []

    def look(self):
        seen.append(self)
        raise Interrupted("seen enough")

    monkeypatch.setattr(trainer.Trainer, "train", look)
    return seen


def assert_network_and_teacher(model, weights):
    found = models.read_weights(model)
    for name, values in weights.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        np.testing.assert_array_equal(found[f"ema_{name}"], values, err_msg=name)


def test_compiled_training_runs(joint, compiled):
    flags = ("--teacher_decay=0", "--soft_labels=1", "--average_decay=0.5", "--mixed_precision")
    finishes_with_numbers(joint, ("--method=copy_paste", *flags))


def test_unimatch_runs_without_dropout_and_without_average(joint):
    finishes_with_numbers(joint, ("--method=unimatch", "--feature_dropout=0", "--teacher_decay=0"))


def finishes_with_numbers(joint, flags):
    folder = joint("--n_iter=2", *flags)
    assert 0 <= json.loads((folder / "DONE").read_text())["test_dice"] <= 1
    assert np.isfinite([float(row["consistency_loss"]) for row in tiny.log(folder)]).all()


def test_with_another_start_no_baseline_is_needed(run_script, trained_baseline, trainers, tmp_path, caplog):
    """Every weight of the other network, the head included, is half of the baseline's, which lies in another folder."""
    weights, _ = checkpoint.load_arrays(trained_baseline / "checkpoints" / "best.npz")
    halves = {name: value / 2 for name, value in weights.items()}
    checkpoint.save_arrays(tmp_path / "other.npz", halves)
    with pytest.raises(Interrupted), caplog.at_level("INFO", logger="absl"):
        run_script(tiny.JOINT, "--method=copy_paste", f"--init_from={tmp_path / 'other.npz'}")
    assert_network_and_teacher(trainers[0].model, halves)
    assert "baseline" not in caplog.text.lower().replace("docs/baseline.md", "")
    assert "pseudo-labels" not in caplog.text and "0.99 (--teacher_decay)" in caplog.text


def test_without_any_start_the_average_warms_up(run_script, trainers):
    with pytest.raises(Interrupted):
        run_script(tiny.JOINT, "--method=unimatch", "--init_from=none")
    assert trainers[0].model.get_layer("teacher")._warms_up and trainers[0].plan.kept.name == "unet"


def test_a_diverged_run_names_its_slices(joint, tmp_path, monkeypatch):
    monkeypatch.setattr(losses.WeakToStrong, "call", lambda self, y_true, y_pred: float("nan") * y_pred[0, 0, 0, 0])
    with pytest.raises(TrainingError, match="NaN loss at step 0"):
        joint("--method=unimatch")
    (record,) = (tmp_path / "runs").glob("**/nan_step_*.json")
    assert {row["part"] for row in json.loads(record.read_text())["batch"]} == {"labelled", "unlabelled"}
