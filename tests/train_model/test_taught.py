"""UniMatch and copy-paste from their flags to their results, on seven tiny patients."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from fewslice.core.errors import TrainingError
from fewslice.train.trainer import Interrupted
from tests.train_model import tiny

METHODS = ("unimatch", "copy_paste")


@pytest.fixture
def joint(with_baseline, run_script, tmp_path):
    with_baseline(tmp_path / "runs")
    return lambda *flags: run_script(tiny.JOINT, *flags)


@pytest.mark.parametrize("method", ["unimatch"])
def test_a_run_learns_from_both_and_a_stopped_one_ends_the_same(joint, eager, method, tmp_path, monkeypatch):
    """Unlabelled loss in the log, no rounds of pseudo-labels, scores at the end; dropout and teacher resume exactly.

    What a kill after 2 steps had left is copied on the way, and continued.
    """
    from fewslice.train.trainer import Trainer

    flags = (f"--method={method}", "--unlabelled_bs=3", "--confidence=0.3", "--n_iter=4")
    real, steps = Trainer._segment, []

    def copying(self, stop):
        steps.append(self.step)
        if self.step == 2 and not (tmp_path / "stopped").exists():
            shutil.copytree(self.run.dir, tmp_path / "stopped")
        real(self, stop)

    monkeypatch.setattr(Trainer, "_segment", copying)
    whole = joint(*flags)
    assert whole.name.startswith(f"tr1_c1_{method}_s0-")
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
    shutil.move(whole, tmp_path / "whole")
    shutil.move(tmp_path / "stopped", whole)
    tiny.assert_same_run(joint(*flags), tmp_path / "whole")
    assert steps == [0, 2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_starts_from_the_whole_baseline_and_so_does_its_teacher(joint, trained_baseline, monkeypatch, method):
    import models
    from fewslice.train import trainer

    found = {}

    def look(self):
        found.update({name: np.array(value) for name, value in models.read_weights(self.model).items()})
        raise Interrupted("seen enough")

    monkeypatch.setattr(trainer.Trainer, "train", look)
    with pytest.raises(Interrupted):
        joint(f"--method={method}")
    for name, values in tiny.weights(trained_baseline, "best.npz").items():
        if "|" in name:
            name = name.replace("|", "/")
            np.testing.assert_array_equal(found[name], values)
            np.testing.assert_array_equal(found[f"ema_{name}"], values)


def test_compiled_training_runs(joint):
    flags = ("--teacher_decay=0", "--soft_labels=1", "--average_decay=0.5", "--mixed_precision")
    finishes_with_numbers(joint, ("--method=copy_paste", *flags))


def test_unimatch_runs_without_dropout_and_without_average(joint, eager):
    finishes_with_numbers(joint, ("--method=unimatch", "--feature_dropout=0", "--teacher_decay=0"))


def finishes_with_numbers(joint, flags):
    folder = joint("--n_iter=2", *flags)
    assert 0 <= json.loads((folder / "DONE").read_text())["test_dice"] <= 1
    assert np.isfinite([float(row["consistency_loss"]) for row in tiny.log(folder)]).all()


@pytest.mark.parametrize("method", ["copy_paste"])
def test_with_another_start_no_baseline_is_needed(run_script, trained_baseline, monkeypatch, method, tmp_path, caplog):
    """Every weight of the other network, the head included, is half of the baseline's, which lies in another folder."""
    import models
    from fewslice.core import checkpoint
    from fewslice.train import trainer

    found = {}

    def look(self):
        found.update({name: np.array(value) for name, value in models.read_weights(self.model).items()})
        raise Interrupted("seen enough")

    monkeypatch.setattr(trainer.Trainer, "train", look)
    weights, _ = checkpoint.load_arrays(trained_baseline / "checkpoints" / "best.npz")
    checkpoint.save_arrays(tmp_path / "other.npz", {name: value / 2 for name, value in weights.items()})
    with pytest.raises(Interrupted), caplog.at_level("INFO", logger="absl"):
        run_script(tiny.JOINT, f"--method={method}", f"--init_from={tmp_path / 'other.npz'}")
    for name, values in weights.items():
        np.testing.assert_array_equal(found[name], values / 2, err_msg=name)
        np.testing.assert_array_equal(found[f"ema_{name}"], values / 2, err_msg=name)
    assert "baseline" not in caplog.text.lower()
    assert "pseudo-labels" not in caplog.text and "0.99 (--teacher_decay)" in caplog.text


def test_without_any_start_the_average_warms_up(run_script, monkeypatch):
    from fewslice.train import trainer

    found = []

    def look(self):
        teacher = self.model.get_layer("teacher")
        found.append((teacher._warms_up, self.plan.kept.name))
        raise Interrupted("seen enough")

    monkeypatch.setattr(trainer.Trainer, "train", look)
    with pytest.raises(Interrupted):
        run_script(tiny.JOINT, "--method=unimatch", "--init_from=none")
    assert found == [(True, "unet")]


def test_a_diverged_run_names_its_slices(joint, eager, tmp_path, monkeypatch):
    import losses

    monkeypatch.setattr(losses.WeakToStrong, "call", lambda self, y_true, y_pred: float("nan") * y_pred[0, 0, 0, 0])
    with pytest.raises(TrainingError, match="not a number at step 0"):
        joint("--method=unimatch")
    (record,) = (tmp_path / "runs").glob("**/nan_step_*.json")
    assert {row["part"] for row in json.loads(record.read_text())["batch"]} == {"labelled", "unlabelled"}
