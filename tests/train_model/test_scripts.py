"""The five training scripts from their flags to their results, on seven tiny patients.

Expected values: the files that DESIGN section 3 lists, headers of the source images, and runs compared with each other.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from fewslice.core.done import TESTED, TESTED_AFTER, TESTED_LAST, problems, tidy
from fewslice.core.errors import ConfigError, DataError
from fewslice.report.reading.openings import openings
from fewslice.report.reading.runs import read_run
from fewslice.stages import segmentation
from fewslice.train import setup
from fewslice.train.trainer import Interrupted
from tests.train_model import tiny

CONTRASTIVE = (tiny.GLOBAL, tiny.LOCAL)
LABELED = (tiny.ENCODER, tiny.ENCODER_DECODER, tiny.BASELINE)
METRICS = ("dice", "hd95_mm", "hd95_voxels", "assd_mm", "nsd")


@pytest.fixture(scope="module")
def house(train, with_baseline, tmp_path_factory):
    """All five scripts, each run once. `runs` is their folder, `dirs` their run directories."""
    runs = with_baseline(tmp_path_factory.mktemp("house"))
    train(runs, *CONTRASTIVE, tiny.ENCODER, tiny.ENCODER_DECODER)
    dirs = {script: tiny.run_dir(runs, script) for script in (*CONTRASTIVE, *LABELED)}
    return SimpleNamespace(runs=runs, dirs=dirs)


def read(path):
    return json.loads(path.read_text())


def command(script, *flags, env=None):
    """Returns the finished process of a script as a user starts it, and its seconds."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, f"{script}.py", *flags],
        cwd=tiny.SCRIPTS,
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        timeout=120,
    )
    return done, time.monotonic() - started


@pytest.mark.parametrize("script", [*CONTRASTIVE, *LABELED])
def test_run_directory(house, script):
    folder = house.dirs[script]
    config, done = read(folder / "config.json"), read(folder / "DONE")
    assert config["n_iter"] == done["n_iter"] == 4 and config["seed"] == 0
    assert folder.name.endswith(config["digest"])
    assert read(folder / "versions.json")["backend"]
    assert (folder / "command.txt").read_text().startswith(f"python {script}.py --dataset=tiny ")
    assert "Finished" in (folder / "logs" / "run.log").read_text()
    assert [row["step"] for row in tiny.log(folder)] == ["2", "4"]
    assert not list(folder.rglob(".*tmp*")) and not list(folder.rglob("next.*"))


@pytest.mark.parametrize("script", CONTRASTIVE)
def test_pretraining_logs_loss_and_rank(house, script):
    for row in tiny.log(house.dirs[script]):
        assert set(row) == {"step", "loss", "random_level", "effective_rank"}
        assert all(np.isfinite(float(value)) for value in row.values())
        assert float(row["effective_rank"]) >= 1 and float(row["random_level"]) > 0
    assert not (house.dirs[script] / "checkpoints" / "best.npz").exists()


@pytest.mark.parametrize("script", LABELED)
def test_labelled_stage_logs_and_scores(house, script):
    folder = house.dirs[script]
    columns = {"step", "loss", "val_dice", "val_dice_rv", "val_dice_lv", "val_dice_loss"}
    assert all(set(row) == columns for row in tiny.log(folder))
    done = read(folder / "DONE")
    assert {"test_dice", "test_dice_last", "val_dice", "best_step"} <= set(done)
    with open(folder / "eval" / "per_volume.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["case_id"] for row in rows} == {"006_ED", "007_ED"}
    assert {row["metric"] for row in rows} == set(METRICS) and len(rows) == 2 * 2 * 5
    dice = [float(row["value"]) for row in rows if row["metric"] == "dice"]
    assert done["test_dice"] == pytest.approx(np.mean(dice))
    best = tiny.weights(folder, "best.npz")
    assert best.keys() == tiny.weights(folder).keys()
    best_row = max(tiny.log(folder), key=lambda row: float(row["val_dice"]))
    assert str(done["best_step"]) == best_row["step"]


def test_predictions_lie_on_the_source_grid(house, tiny_root):
    folder = house.dirs[tiny.BASELINE] / "eval" / "predictions"
    for patient in ("006", "007"):
        source = nibabel.load(tiny_root / "tiny" / f"patient{patient}" / f"patient{patient}_frame01.nii.gz")
        prediction = nibabel.load(folder / f"{patient}_ED.nii.gz")
        assert prediction.shape == source.shape
        assert prediction.header.get_zooms() == source.header.get_zooms()
        np.testing.assert_array_equal(prediction.affine, source.affine)
        assert set(np.unique(prediction.dataobj)) <= {0, 1, 2}


def test_weights_travel_from_stage_to_stage(house):
    last = {script: tiny.weights(folder) for script, folder in house.dirs.items()}
    frozen = [name for name in last[tiny.LOCAL] if name.startswith("enc_") and "moving" not in name]
    assert len(frozen) == 8 * len(tiny.FILTERS)
    for name in frozen:
        np.testing.assert_array_equal(last[tiny.LOCAL][name], last[tiny.GLOBAL][name])
    log = (house.dirs[tiny.ENCODER_DECODER] / "logs" / "run.log").read_text()
    assert f"{tiny.LOCAL}/local0" in log
    assert "Weights from" in log and "in the source only" in log
    configs = {script: read(folder / "config.json") for script, folder in house.dirs.items()}
    assert configs[tiny.BASELINE]["initial_weights"] == ""
    assert len({configs[script]["initial_weights"] for script in (tiny.LOCAL, tiny.ENCODER)}) == 1
    assert configs[tiny.ENCODER_DECODER]["initial_weights"] not in ("", configs[tiny.ENCODER]["initial_weights"])


@pytest.mark.parametrize("script", [tiny.GLOBAL, tiny.BASELINE])
def test_finished_run_does_nothing(house, data, script):
    before = {path: path.stat().st_mtime_ns for path in house.dirs[script].rglob("*") if path.is_file()}
    tiny.execute(script, tiny.arguments(script, house.runs))
    assert before == {path: path.stat().st_mtime_ns for path in house.dirs[script].rglob("*") if path.is_file()}


def test_sealed_test_volumes_are_scored_on_demand(house, run_script):
    sealed = run_script(tiny.BASELINE, "--test=0")
    assert not {TESTED, TESTED_LAST, TESTED_AFTER} & read(sealed / "DONE").keys()
    assert not (sealed / "eval").exists() and "--test=1 scores them" in read_run(sealed).problems[0]
    assert openings([read_run(sealed)]) == []
    trained = {path: path.stat().st_mtime_ns for path in sealed.rglob("*.npz")}
    assert run_script(tiny.BASELINE) == sealed
    assert trained == {path: path.stat().st_mtime_ns for path in sealed.rglob("*.npz")}
    at_once = house.dirs[tiny.BASELINE]
    tiny.assert_same(sealed / "eval", at_once / "eval", "per_volume.csv", "summary.json", "*.nii.gz")
    names = ("best_step", "val_dice", TESTED, TESTED_LAST, TESTED_AFTER)
    assert all(read(sealed / "DONE")[name] == read(at_once / "DONE")[name] for name in names)
    assert read(sealed / "DONE")[TESTED_AFTER] == [4] and not problems(sealed)
    extended = run_script(tiny.BASELINE, "--n_iter=6", "--test=0")
    assert extended == sealed and not (sealed / "eval").exists() and read(sealed / "DONE")[TESTED_AFTER] == [4]
    tidy(sealed)
    run_script(tiny.BASELINE, "--n_iter=6")
    assert read(sealed / "DONE")[TESTED_AFTER] == [4, 6] and read(sealed / "DONE")["n_iter"] == 6
    scored = len(list((sealed / "eval").rglob("per_volume.csv")))
    assert [(one.run, one.networks) for one in openings([read_run(sealed)])] == [(sealed, scored + 1)]


def test_last_weights_that_count_are_tested_once(run_script):
    run = run_script(tiny.BASELINE, "--keep=last")
    assert (run / "logs" / "run.log").read_text().count("mean test Dice") == 1
    record = read(run / "DONE")
    assert record[TESTED] == record[TESTED_LAST] and not (run / "eval" / "last").exists()


@pytest.mark.parametrize("method", ["contrastive", "unimatch"])
def test_joint_training_opens_its_sealed_test_volumes(house, run_script, method):
    flags = [f"--method={method}", f"--teacher={house.dirs[tiny.BASELINE]}"]
    flags += ["--crf=none"] if method == "contrastive" else []
    sealed = run_script(tiny.JOINT, *flags, "--test=0")
    assert TESTED not in read(sealed / "DONE")
    assert run_script(tiny.JOINT, *flags) == sealed
    on_demand = read(sealed / "DONE")
    shutil.rmtree(sealed)
    at_once = read(run_script(tiny.JOINT, *flags) / "DONE")
    names = ("best_step", "val_dice", TESTED, TESTED_LAST, TESTED_AFTER)
    assert [on_demand[name] for name in names] == [at_once[name] for name in names]


def test_an_extended_baseline_is_scored_again(house, run_script, tmp_path):
    shutil.copytree(house.runs / "tiny" / tiny.BASELINE, tmp_path / "runs" / "tiny" / tiny.BASELINE)
    scores = tiny.run_dir(tmp_path / "runs", tiny.BASELINE) / "eval" / "last" / "per_volume.csv"
    scores.write_text("of 4 steps")
    extended = run_script(tiny.BASELINE, "--n_iter=5")
    assert extended == tiny.run_dir(tmp_path / "runs", tiny.BASELINE), "the same directory"
    assert [row["step"] for row in tiny.log(extended)] == ["2", "4", "5"] and read(extended / "DONE")["n_iter"] == 5
    assert {row["case_id"] for row in tiny.content(scores)} == {"006_ED", "007_ED"}
    with pytest.raises(ConfigError, match="fewer"):
        run_script(tiny.BASELINE, "--n_iter=4")


def test_mixup_changes_the_batches(run_script, tmp_path, monkeypatch):
    """The same slices, and nothing else than mixtures of them; nothing is trained."""
    batches = []

    def look(_run, _model, plan):
        batches.append(plan.make_batch(0))
        raise Interrupted("seen enough")

    monkeypatch.setattr(segmentation, "Trainer", look)
    monkeypatch.setattr(setup, "build", lambda *_, **__: None)
    for flags in ((), ("--mixup=0.4",)):
        with pytest.raises(Interrupted):
            run_script(tiny.BASELINE, *flags)
    (images, labels), (mixed, soft) = batches
    assert not np.array_equal(images, mixed)
    for row in (0, 1):
        weight = (mixed[row] - images[1]).sum() / (images[0] - images[1]).sum()
        assert -1e-4 < weight < 1 + 1e-4
        for plain, found in ((images, mixed), (labels, soft)):
            np.testing.assert_allclose(found[row], weight * plain[0] + (1 - weight) * plain[1], atol=1e-3)
    configs = [read(path) for path in (tmp_path / "runs" / "tiny" / tiny.BASELINE).glob("*/config.json")]
    assert sorted(config.get("mixup", 0) for config in configs) == [0, 0.4]


def test_init_from_chooses_among_upstream_runs(house, run_script, tmp_path):
    for script in (tiny.GLOBAL, tiny.ENCODER):
        shutil.copytree(house.runs / "tiny" / script, tmp_path / "runs" / "tiny" / script)
    first = tiny.run_dir(tmp_path / "runs", tiny.GLOBAL)
    second = first.with_name("another")
    shutil.copytree(first, second)
    with pytest.raises(ConfigError, match="2 runs") as error:
        run_script(tiny.ENCODER)
    assert f"--init_from={first}" in str(error.value) and f"--init_from={second}" in str(error.value)
    run_script(tiny.ENCODER, f"--init_from={second}")
    chosen = tiny.run_dir(tmp_path / "runs", tiny.ENCODER)
    assert chosen.name == house.dirs[tiny.ENCODER].name, "the same weights make the same run"


def test_init_from_wrong_files(house, data, tmp_path):
    (tmp_path / "broken.npz").write_bytes((house.dirs[tiny.GLOBAL] / "checkpoints" / "last.npz").read_bytes()[:5000])
    with pytest.raises(ConfigError, match="Found: another folder"):
        tiny.execute(tiny.BASELINE, tiny.arguments(tiny.BASELINE, tmp_path, f"--init_from={tmp_path}"))
    with pytest.raises(DataError, match="damaged"):
        tiny.execute(tiny.BASELINE, tiny.arguments(tiny.BASELINE, tmp_path, f"--init_from={tmp_path / 'broken.npz'}"))


def test_averaged_weights_and_tensorboard(run_script):
    folder = run_script(tiny.BASELINE, "--average_decay=0.5", "--tensorboard", "--n_iter=2")
    (row,) = tiny.log(folder)
    assert {"val_dice", "val_dice_raw"} <= set(row)
    events = list((folder / "logs" / "tensorboard").glob("events.out.tfevents*"))
    assert events and all(path.stat().st_size > 0 for path in events)
    state, last = tiny.weights(folder, "state.npz"), tiny.weights(folder)
    for name, value in last.items():
        if name != "record.json":
            np.testing.assert_array_equal(value, state[f"average|{name}"])


@pytest.mark.parametrize("script", CONTRASTIVE)
def test_compiled_mixed_precision(run_script, compiled, script):
    flags = ("--init_from=none",) if script == tiny.LOCAL else ()
    folder = run_script(script, "--mixed_precision", "--n_iter=2", *flags)
    assert all(value.dtype in (np.float32, np.uint8) for value in tiny.weights(folder).values())


def test_interrupted(house, run_script, monkeypatch):
    from fewslice.train.callbacks import StopSignal

    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "__enter__", lambda self: setattr(self, "requested", True) or self)
        with pytest.raises(Interrupted, match="after step 1 of 4; everything is saved"):
            run_script(tiny.GLOBAL)
    tiny.assert_same_run(run_script(tiny.GLOBAL), house.dirs[tiny.GLOBAL])


@pytest.mark.parametrize("script", [tiny.LOCAL, tiny.JOINT])
def test_help_answers_at_once(script):
    done, seconds = command(script, "--help")
    assert done.returncode == 0
    assert "--dataset" in done.stdout and "--n_iter" in done.stdout
    assert seconds < 2


@pytest.mark.slow
def test_two_devices_as_a_user_starts_them(tiny_root, tmp_path):
    """Compiled, in a process of its own."""
    flags = tiny.arguments(tiny.BASELINE, tmp_path, "--devices=2", "--n_iter=1", "--unet=8,8")
    done, _ = command(tiny.BASELINE, *flags, env=tiny.environment(tiny_root))
    assert done.returncode == 0, done.stderr
    assert "Finished" in done.stderr
    assert np.isfinite(float(tiny.log(tiny.run_dir(tmp_path, tiny.BASELINE))[-1]["loss"]))


def test_a_finished_run_is_extended_only_by_steps_that_are_given(house, data):
    before = read(house.dirs[tiny.BASELINE] / "DONE")
    for flags in (("--noextend", "--n_iter=9"), ()):
        tiny.execute(tiny.BASELINE, ["--dataset=tiny", f"--runs_dir={house.runs}", "--no_of_tr_imgs=tr1", *flags])
    assert read(house.dirs[tiny.BASELINE] / "DONE") == before


@pytest.mark.parametrize("script", LABELED)
def test_predict_repeats_the_predictions_of_a_finished_run(house, data, script, tmp_path):
    tiny.assert_predict_repeats(house.dirs[script], data, tmp_path)
