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

from fewslice.core.errors import ConfigError, DataError
from fewslice.train.trainer import Interrupted
from tests.train_model import tiny

CONTRASTIVE = (tiny.GLOBAL, tiny.LOCAL)
LABELED = (tiny.ENCODER, tiny.ENCODER_DECODER, tiny.BASELINE)


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
    assert {row["metric"] for row in rows} == {"dice", "hd95_mm", "hd95_voxels", "assd_mm"} and len(rows) == 2 * 2 * 4
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
    assert len(frozen) == 48
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
    started = time.monotonic()
    tiny.execute(script, tiny.arguments(script, house.runs))
    assert time.monotonic() - started < 2
    assert before == {path: path.stat().st_mtime_ns for path in house.dirs[script].rglob("*") if path.is_file()}


def test_extended_run_equals_a_longer_one(house, run_script, tmp_path):
    shutil.copytree(house.runs / "tiny" / tiny.GLOBAL, tmp_path / "runs" / "tiny" / tiny.GLOBAL)
    extended = run_script(tiny.GLOBAL, "--n_iter=6")
    assert len(list(extended.parent.iterdir())) == 1, "the same directory"
    tiny.assert_same_run(extended, run_script(tiny.GLOBAL, "--n_iter=6", runs=tmp_path / "long"))
    assert read(extended / "DONE")["n_iter"] == 6
    with pytest.raises(ConfigError, match="fewer"):
        run_script(tiny.GLOBAL, "--n_iter=5")


def test_an_extended_baseline_is_scored_again(house, run_script, eager, tmp_path):
    shutil.copytree(house.runs / "tiny" / tiny.BASELINE, tmp_path / "runs" / "tiny" / tiny.BASELINE)
    scores = tiny.run_dir(tmp_path / "runs", tiny.BASELINE) / "eval" / "last" / "per_volume.csv"
    scores.write_text("of 4 steps")
    extended = run_script(tiny.BASELINE, "--n_iter=5")
    assert [row["step"] for row in tiny.log(extended)] == ["2", "4", "5"] and read(extended / "DONE")["n_iter"] == 5
    assert {row["case_id"] for row in tiny.content(scores)} == {"006_ED", "007_ED"}


def test_mixup_trains_other_weights_and_resumes(run_script, eager, tmp_path):
    mixed = run_script(tiny.BASELINE, "--mixup=0.4", "--n_iter=3")
    plain = run_script(tiny.BASELINE, "--n_iter=3", runs=tmp_path / "plain")
    assert read(mixed / "config.json")["mixup"] == 0.4 and "mixup" not in read(plain / "config.json")
    weights, others = tiny.weights(mixed), tiny.weights(plain)
    assert any((weights[name] != others[name]).any() for name in weights if name.endswith("kernel"))
    run_script(tiny.BASELINE, "--mixup=0.4", "--n_iter=1", runs=tmp_path / "cut")
    tiny.assert_same_run(run_script(tiny.BASELINE, "--mixup=0.4", "--n_iter=3", runs=tmp_path / "cut"), mixed)


def test_noresume_starts_afresh(house, run_script, tmp_path):
    shutil.copytree(house.runs / "tiny" / tiny.GLOBAL, tmp_path / "runs" / "tiny" / tiny.GLOBAL)
    folder = tiny.run_dir(tmp_path / "runs", tiny.GLOBAL)
    (folder / "checkpoints" / "state.npz").write_bytes(b"damaged")
    (folder / "checkpoints" / "mark").write_text("")
    tiny.assert_same_run(run_script(tiny.GLOBAL, "--noresume"), house.dirs[tiny.GLOBAL])
    assert not (folder / "checkpoints" / "mark").exists()


def test_flags_with_a_space(house, data):
    spaced = [part for text in tiny.arguments(tiny.GLOBAL, house.runs) for part in text.split("=")]
    tiny.execute(tiny.GLOBAL, spaced)
    assert tiny.run_dir(house.runs, tiny.GLOBAL) == house.dirs[tiny.GLOBAL]


def test_former_stage_is_missing(run_script):
    with pytest.raises(
        ConfigError, match=rf"(?s)No run of {tiny.GLOBAL}.*python {tiny.GLOBAL}\.py --dataset=tiny"
    ) as error:
        run_script(tiny.ENCODER)
    assert "--init_from" in str(error.value)


def test_former_stage_with_other_flags_is_named(house, data):
    with pytest.raises(ConfigError, match=r"The nearest has temp_fac=0\.1: .*exp2"):
        tiny.execute(tiny.ENCODER, tiny.arguments(tiny.ENCODER, house.runs, "--temp_fac=0.2"))


def test_former_stage_is_unfinished(house, run_script, tmp_path):
    shutil.copytree(house.runs / "tiny" / tiny.GLOBAL, tmp_path / "runs" / "tiny" / tiny.GLOBAL)
    (tiny.run_dir(tmp_path / "runs", tiny.GLOBAL) / "DONE").unlink()
    with pytest.raises(ConfigError, match=rf"not finished.*\n.*{tiny.GLOBAL}\.py"):
        run_script(tiny.ENCODER)


def test_former_stage_is_ambiguous_and_init_from_chooses(house, run_script, tmp_path):
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
    def start(path):
        tiny.execute(tiny.BASELINE, tiny.arguments(tiny.BASELINE, tmp_path, f"--init_from={path}"))

    with pytest.raises(ConfigError, match="absent.npz: expected a run folder.*Found: nothing"):
        start(tmp_path / "absent.npz")
    with pytest.raises(ConfigError, match="Found: another folder"):
        start(tmp_path)
    (tmp_path / "broken.npz").write_bytes((house.dirs[tiny.GLOBAL] / "checkpoints" / "last.npz").read_bytes()[:5000])
    with pytest.raises(DataError, match="damaged"):
        start(tmp_path / "broken.npz")


def test_averaged_weights_and_tensorboard(run_script, eager):
    folder = run_script(tiny.BASELINE, "--average_decay=0.5", "--tensorboard", "--n_iter=2")
    (row,) = tiny.log(folder)
    assert {"val_dice", "val_dice_raw"} <= set(row)
    events = list((folder / "logs" / "tensorboard").glob("events.out.tfevents*"))
    assert events and all(path.stat().st_size > 0 for path in events)
    state, last = tiny.weights(folder, "state.npz"), tiny.weights(folder)
    for name, value in last.items():
        if name != "record.json":
            np.testing.assert_array_equal(value, state[f"average|{name}"])


def test_mixed_precision(run_script):
    folder = run_script(tiny.GLOBAL, "--mixed_precision", "--n_iter=2")
    assert all(value.dtype in (np.float32, np.uint8) for value in tiny.weights(folder).values())


@pytest.mark.parametrize("script", CONTRASTIVE)
def test_contrastive_stages_refuse_several_devices(house, data, script):
    with pytest.raises(ConfigError, match="--devices=2.*negative.*--devices=1"):
        tiny.execute(script, tiny.arguments(script, house.runs, "--devices=2"))


def test_interrupted(house, run_script, monkeypatch):
    from fewslice.train.callbacks import StopSignal

    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "__enter__", lambda self: setattr(self, "requested", True) or self)
        with pytest.raises(Interrupted, match="after step 1 of 4; everything is saved"):
            run_script(tiny.GLOBAL)
    tiny.assert_same_run(run_script(tiny.GLOBAL), house.dirs[tiny.GLOBAL])


WRONG = [
    ("--dataset=tinny", "Did you mean 'tiny'"),
    ("--sede=1", "seed"),
    ("--no_of_tr_imgs=tr3", "tr1"),
    ("--comb_tr_imgs=c9", "c1"),
    ("--n_iter=0", "n_iter"),
    ("--set=mtask_sb=3", "mtask_bs"),
]


@pytest.mark.parametrize(("flag", "expected"), WRONG, ids=[flag for flag, _ in WRONG])
def test_wrong_flags_answer_at_once(tiny_root, flag, expected):
    env = tiny.environment(tiny_root)
    given = ["--no_of_tr_imgs=tr1", "--dataset=tiny", flag]
    done, seconds = command(tiny.BASELINE, *given, env=env)
    assert done.returncode != 0
    assert expected in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert seconds < 2


@pytest.mark.parametrize("script", [*CONTRASTIVE, *LABELED])
def test_help_answers_at_once(script):
    done, seconds = command(script, "--help")
    assert done.returncode == 0
    assert "--dataset" in done.stdout and "--n_iter" in done.stdout
    assert seconds < 2


@pytest.mark.slow
def test_two_devices_as_a_user_starts_them(house, tiny_root):
    env = tiny.environment(tiny_root)
    flags = tiny.arguments(tiny.ENCODER, house.runs, "--devices=2", "--n_iter=1", "--ver=1")
    done, _ = command(tiny.ENCODER, *flags, env=env)
    assert done.returncode == 0, done.stderr
    assert "Finished" in done.stderr
    (folder,) = (path.parent for path in (house.runs / "tiny" / tiny.ENCODER).glob("*/config.json")
                 if read(path)["devices"] == 2)  # fmt: skip
    assert np.isfinite(float(tiny.log(folder)[-1]["loss"]))
