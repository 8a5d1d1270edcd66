"""Run directories: digest, lock, completion, finding earlier runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fewslice.core import done, files
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.run import Run, find_runs, find_upstream, settings_text, unmatched_settings

SETTINGS = {"seed": 0, "temp_fac": 0.1, "cases": {"train": ["001_ED"]}}


def make(root, settings=None, *, n_iter=4, **options):
    return Run(root, "acdc", "tr_baseline", "tr1_c1_s0", settings or SETTINGS, n_iter=n_iter, **options)


def finished(root, settings=None, *, n_iter=4):
    with make(root, settings, n_iter=n_iter) as run:
        run.start({"keras": "3"})
        run.finish({"loss": float("nan")})
    return run


def test_digest_ignores_the_number_of_steps_only(tmp_path):
    run = make(tmp_path)
    assert run.digest == make(tmp_path, n_iter=9).digest
    assert run.digest == make(tmp_path, dict(reversed(SETTINGS.items()))).digest
    assert run.digest != make(tmp_path, SETTINGS | {"seed": 1}).digest
    assert run.dir == tmp_path / "acdc" / "tr_baseline" / f"tr1_c1_s0-{run.digest}"


def test_files_of_a_run(tmp_path):
    run = finished(tmp_path)
    config = files.read_json(run.dir / "config.json")
    assert config == SETTINGS | {"n_iter": 4, "digest": run.digest}
    assert files.read_json(run.dir / "versions.json") == {"keras": "3"}
    assert (run.dir / "command.txt").read_text().startswith("python ")
    record = done.read(run.dir)
    assert record["loss"] is None and record["n_iter"] == 4
    assert list(record["sha256"]) == ["command.txt", "config.json", "versions.json"]
    assert run.is_done and run.steps_done == 4 and not make(tmp_path, n_iter=5).is_done


def test_fewer_steps_than_done_are_refused_and_more_continue(tmp_path):
    finished(tmp_path)
    with make(tmp_path, n_iter=3) as run, pytest.raises(ConfigError, match="4 steps; --n_iter=3 is fewer"):
        run.start({})
    assert make(tmp_path).is_done, "nothing was changed"
    with make(tmp_path, n_iter=5) as run:
        run.start({})
        assert run.steps_done == 0, "no longer finished while it is extended"


def test_noresume_clears_everything_of_the_run(tmp_path):
    run = finished(tmp_path)
    for name in ("checkpoints/state.npz", "eval/per_volume.csv", "report.html", "notes.txt"):
        files.write_text(run.dir / name, "x")
    with make(tmp_path, resume=False) as run:
        left = sorted(path.relative_to(run.dir).as_posix() for path in run.dir.rglob("*") if path.is_file())
    assert left == [".lock", "command.txt", "config.json", "notes.txt", "versions.json"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    run = finished(tmp_path)
    for name in ("checkpoints/.state.npz.abc.tmp.npz", ".DONE.x.tmp", "eval/predictions/.a.nii.gz.x.tmp.nii.gz"):
        files.write_text(run.dir / name, "half")
    files.write_text(run.dir / "checkpoints/state.npz", "whole")
    with make(tmp_path):
        assert not list(run.dir.rglob("*.tmp*"))
        assert (run.dir / "checkpoints/state.npz").exists()


HOLD = """
import sys
from fewslice.core.run import Run
with Run(sys.argv[1], "acdc", "tr_baseline", "m", {"seed": 0}, n_iter=1):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_lock_against_a_second_process(tmp_path):
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    )
    again = Run(tmp_path, "acdc", "tr_baseline", "m", {"seed": 0}, n_iter=1)
    try:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(FewSliceError, match="Another process is working in"), again:
            pass
        with Run(tmp_path, "acdc", "tr_baseline", "m", {"seed": 1}, n_iter=1):
            pass  # another run is free
    finally:
        process.kill()
        process.communicate()
    with again:
        pass  # a killed process leaves no lock


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(FewSliceError, match="Cannot write"), make(tmp_path / "runs"):
        pass


DEFAULTS = {"pretr_encoder_global_contrastive_loss": {"strong_views": 0, "average_decay": 0.0, "mixed_precision": False,
                                                     "temp_fac": 0.1, "init_from": None}}  # fmt: skip
FLAGS = {"defaults": lambda stage: DEFAULTS.get(stage, {}), "left_out": {"runs_dir", "n_iter"}}


def test_of_several_upstream_runs_the_one_of_the_same_settings_is_taken(tmp_path):
    """A setting that an older run did not record does not speak against it."""
    first = finished(tmp_path, SETTINGS | {"dataset_config": {"mtask_bs": 20, "size": (4, 4)}, "average_decay": 0.5})
    second = finished(tmp_path, SETTINGS | {"dataset_config": {"mtask_bs": 4, "size": (4, 4)}})

    def chosen(**preferred):
        return find_upstream(tmp_path, "acdc", "tr_baseline", {"seed": 0}, command="", preferred=preferred, **FLAGS)

    assert chosen(dataset_config={"mtask_bs": 20, "size": (4, 4)}) == first.dir
    assert chosen(dataset_config={"mtask_bs": 4, "size": (4, 4)}, average_decay=0.0) == second.dir
    for preferred in ({}, {"dataset_config": {"mtask_bs": 7}}, {"average_decay": 0.5}):
        with pytest.raises(ConfigError, match="2 runs of tr_baseline have seed=0"):
            chosen(**preferred)


def find(root, **wanted):
    return find_upstream(root, "acdc", "tr_baseline", wanted, command="python tr_baseline.py --seed=1", **FLAGS)


def test_finding_an_upstream_run(tmp_path):
    with pytest.raises(ConfigError, match=r"No run of tr_baseline with seed=0 below") as error:
        find(tmp_path, seed=0)
    assert "The nearest" not in str(error.value)
    run = finished(tmp_path)
    assert [path for path, _ in find_runs(tmp_path, "acdc", "tr_baseline")] == [run.dir]
    assert find(tmp_path, seed=0, n_iter=4, temp_fac=0.1) == run.dir
    with pytest.raises(ConfigError, match=r"The nearest has seed=0: .*\n.*\n  python tr_baseline.py --seed=1"):
        find(tmp_path, seed=1, temp_fac=0.1)
    other = finished(tmp_path, SETTINGS | {"temp_fac": 0.2})
    with pytest.raises(ConfigError, match="2 runs of tr_baseline have seed=0") as error:
        find(tmp_path, seed=0)
    assert str(run.dir) in str(error.value) and str(other.dir) in str(error.value)
    (other.dir / "DONE").unlink()
    assert find(tmp_path, seed=0) == run.dir, "an unfinished one beside it does not count"
    with pytest.raises(ConfigError, match="is not finished. Repeat its command"):
        find(tmp_path, temp_fac=0.2)


def unmatched(run, wanted=None):
    return unmatched_settings(run, wanted, **FLAGS)


VIEWS = SETTINGS | {"stage": "pretr_encoder_global_contrastive_loss", "strong_views": 0, "average_decay": 0.0,
                    "mixed_precision": False, "dataset_config": {"img_size_x": 192}}  # fmt: skip


def test_settings_that_were_not_asked_for_are_told(tmp_path):
    """Defaults of the encoder's pretraining: strong_views 0, average_decay 0, mixed_precision off, temp_fac 0.1."""
    plain = finished(tmp_path, VIEWS)
    assert unmatched(plain.dir, {"seed": 0}) == {} == unmatched(tmp_path)
    strong = finished(tmp_path / "other", VIEWS | {"strong_views": 1, "average_decay": 0.99, "mixed_precision": True})
    told = {"strong_views": 1, "average_decay": 0.99, "mixed_precision": True}
    assert unmatched(strong.dir, {"seed": 0}) == unmatched(strong.dir) == told
    assert unmatched(strong.dir, {"seed": 0, "strong_views": 1}) == {
        "average_decay": 0.99, "mixed_precision": True
    }  # fmt: skip
    assert settings_text(told) == "strong_views=1, average_decay=0.99, mixed_precision=True"


def test_runs_that_differ_in_what_was_not_asked_are_not_chosen_among(tmp_path):
    plain, other = finished(tmp_path, VIEWS), finished(tmp_path, VIEWS | {"strong_views": 1})
    with pytest.raises(ConfigError, match="2 runs of tr_baseline have seed=0. None is preferred; choose one") as error:
        find(tmp_path, seed=0)
    assert f"--init_from={plain.dir}   (strong_views=0)" in str(error.value)
    assert f"--init_from={other.dir}   (strong_views=1)" in str(error.value)
    (other.dir / "DONE").unlink()
    assert unmatched(plain.dir, {"seed": 0}) == {"strong_views": 0}, "told although it is the default"


def test_nested_and_old_settings_are_compared(tmp_path):
    """A run from before a flag existed counts as having its default."""
    run = finished(tmp_path, VIEWS | {"dataset_config": {"img_size_x": 64}})
    old = finished(tmp_path, {key: value for key, value in VIEWS.items() if key != "strong_views"})
    assert unmatched(run.dir, {"seed": 0}) == {"dataset_config.img_size_x": 64}
    assert unmatched(old.dir, {"seed": 0}) == {"dataset_config.img_size_x": 192}


def test_damaged_config_is_named(tmp_path, caplog):
    """Also where the run that is asked for is the damaged one; another run is found all the same."""
    run, other = finished(tmp_path), finished(tmp_path, SETTINGS | {"seed": 1})
    (run.dir / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="No run of tr_baseline with seed=0"):
        find(tmp_path, seed=0)
    assert str(run.dir / "config.json") in caplog.text and "no valid JSON" in caplog.text
    assert find(tmp_path, seed=1) == other.dir
