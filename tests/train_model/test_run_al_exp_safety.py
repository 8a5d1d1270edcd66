"""What an experiment refuses and survives. Its rounds only query, so that no network is trained.

Expected values: by hand, and the undisturbed run.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fewslice.active import round_files
from fewslice.core import checkpoint
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.train.trainer import Interrupted
from tests.train_model import tiny, tiny_al

QUERY_ONLY = {"policy": {"ensemble_kwargs": {"skip": True}}}


def only_querying(**policy):
    return {"policy": QUERY_ONLY["policy"] | policy}


@pytest.fixture(scope="module")
def finished(al_settings, tmp_path_factory):
    """A finished experiment of three rounds: the folder of all runs, and its own."""
    root = tmp_path_factory.mktemp("finished")
    path = tiny_al.write_experiment(root / "random.yml", **QUERY_ONLY)
    tiny.execute(tiny_al.SCRIPT, [f"--config={path}", f"--runs_dir={root / 'runs'}"])
    folder = tiny.run_dir(root / "runs", tiny_al.SCRIPT)
    assert [len(names) for names in tiny_al.picks(folder)] == [4, 4, 4] and (folder / "DONE").exists()
    return root / "runs", folder


@pytest.fixture
def queried(finished, tmp_path):
    """A copy of it where `run_al` finds it, and its picks."""
    shutil.copytree(finished[0], tmp_path / "runs")
    folder = tiny.run_dir(tmp_path / "runs", tiny_al.SCRIPT)
    return folder, tiny_al.picks(folder)


def test_a_second_process_is_refused(run_al, queried):
    before = tiny_al.times(queried[0])
    with open(queried[0] / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for flags in ((), ("--noresume",)):
            with pytest.raises(FewSliceError, match="Another process is working in .*random-"):
                run_al("random", *flags, **QUERY_ONLY)
    assert tiny_al.times(queried[0]) == before


def test_damage_is_told_and_the_remedy_works(run_al, queried):
    folder, picks = queried
    path = folder / "rounds" / "001" / "plan.json"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="(?s)001/plan.json.*move it and DONE of this round elsewhere and repeat the"):
        run_al("random", **QUERY_ONLY)
    assert (folder / "DONE").exists(), "a refused command changes nothing"
    for name in ("plan.json", "DONE"):
        (path.parent / name).unlink()
    assert run_al("random", **QUERY_ONLY) == folder and tiny_al.picks(folder) == picks and (folder / "DONE").exists()


def test_a_round_that_continues_others_is_refused(run_al, queried, tmp_path):
    """Round 0 of another seed, consistent by itself."""
    other = run_al("random", **only_querying(seed=1))
    first = queried[0] / "rounds" / "000"
    shutil.copytree(other / "rounds" / "000", first, ignore=shutil.ignore_patterns("plan.json"), dirs_exist_ok=True)
    round_files.finish(first)
    with pytest.raises(DataError, match="(?s)001/labelled.csv.*a round before it is not the one that it followed"):
        run_al("random", **QUERY_ONLY)


def test_a_changed_plan_of_a_finished_experiment_is_refused(run_al, queried):
    for rounds, text in (
        ([[0.25, 0]] * 2, "begun 3 rounds"),
        ([[0.25, 0], [0.5, 0], [0.25, 0]], "units: 8 then, 12 n"),
    ):
        with pytest.raises(ConfigError, match=text):
            run_al("random", **only_querying(rounds=rounds))
    assert run_al("random", **only_querying(rounds=[[0.25, 0]] * 4)) == queried[0]
    assert sorted(sum(tiny_al.picks(queried[0]), [])) == sorted({*sum(tiny_al.picks(queried[0]), [])})
    assert [len(names) for names in tiny_al.picks(queried[0])] == [4] * 4


def test_starting_afresh_deletes_no_work_of_a_person(run_al, queried):
    folder, picks = queried
    (folder / "rounds" / "002" / "DONE").write_text("damaged")
    (folder / "rounds" / "000" / "annotated").mkdir()
    assert run_al("random", "--noresume", **QUERY_ONLY) == folder and tiny_al.picks(folder) == picks
    file = folder / "rounds" / "000" / "annotated" / "001_ED_annotation.nii.gz"
    file.parent.mkdir()
    file.write_text("hours of work")
    with pytest.raises(FewSliceError, match="would delete what a person has annotated, 1 files such as .*001_ED_ann"):
        run_al("random", "--noresume", **QUERY_ONLY)
    assert file.exists() and (folder / "DONE").exists()


def test_a_report_of_fewer_rounds_is_written_again(run_al, queried, monkeypatch):
    """Killed between the end of a round that was added and the report."""
    from fewslice.stages import active

    folder, more = queried[0], only_querying(rounds=[[0.25, 0]] * 4)
    with monkeypatch.context() as patch:
        patch.setattr(active, "write_experiment_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_al("random", **more)
    assert (folder / "DONE").exists()
    before = (folder / "report.html").read_text()
    run_al("random", **more)
    assert (folder / "report.html").read_text() != before
    before = tiny_al.times(folder)
    run_al("random", **more)
    assert tiny_al.times(folder) == before


def test_check_only(run_al, tmp_path, caplog, monkeypatch):
    from fewslice.stages import active

    monkeypatch.setattr(active, "run_and_report", lambda *_, **__: pytest.fail("nothing may run"))
    assert run_al("check", "--check_only") is None and not (tmp_path / "runs").exists()
    assert "check: tiny, 3 rounds by random; 1 x dmpls on scribbles of 4 patients, 1 validate, 2 test." in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--set=policy.rounds=[[0.5, 0], [0.6, 0]]"], "add up to 1.1 of the pool; it must be at most 1"),
        (["--set=policy.rounds=[[0.05, 0]]"], "Round 0 would train on nothing: 0.05 of 16 units is less than one"),
        (["--set=model.split=tr9"], "'tr9'"),
        (["--set=model.dataset=tinny"], "tinny.*Did you mean 'tiny'"),
        (["--set=img_size_x=33"], "--set img_size_x=33.*multiple of 32"),
        (["--set=policy.annotator=file"], "file.*files"),
        (["--set=model.model_type=strong", "--set=model.warm_start=x"], "pretrained weights fit"),
    ],
)
def test_refused_before_anything_is_written(run_al, tmp_path, flags, message):
    with pytest.raises(FewSliceError, match=f"(?s){message}"):
        run_al("wrong", *flags)
    assert not (tmp_path / "runs").exists()


def test_one_message_and_status_1(al_settings, tmp_path, tiny_root):
    """In a process of its own, as users see it."""
    path = tiny_al.write_experiment(tmp_path / "wrong.yml", model={"batchsize": 2}, policy={"rounds": [[2, 0]]})
    command = [sys.executable, str(tiny.SCRIPTS / "run_al_exp.py")]
    environment = os.environ | {"FEWSLICE_DATA": str(tiny_root), "FEWSLICE_EXPERIMENTS": str(al_settings)}
    found = []
    for flags in ([f"--config={path}"], []):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        found.append(done.stderr)
    assert re.search(r"wrong.yml:\d+.*batchsize", found[0])
    assert re.search(r"`policy.rounds\[0\]` must be .*two shares from 0 to 1", found[0])
    assert "Give --config=../experiments/<name>.yml. There are: " in found[1] and "phantom_quick" in found[1]


def test_steady_statistics_change_nothing_but_statistics_and_survive_an_interruption(run_al, tmp_path, monkeypatch):
    from fewslice.train.callbacks import StopSignal

    def last(run):
        weights, _ = checkpoint.load_arrays(run / "rounds" / "000" / "member_0" / "checkpoints" / "last.npz")
        return weights

    length = {"max_iterations": 8}  # two steps in the only round
    experiment = {"policy": {"rounds": tiny_al.THREE[:1]}, "model": length | {"steady_statistics": True}}
    steady = last(run_al("steady", **experiment))
    plain = last(run_al("plain", **(experiment | {"model": length})))
    changed = {name for name, value in steady.items() if not np.array_equal(value, plain[name])}
    assert changed == {name for name in steady if "moving" in name and not name.startswith("aux")}
    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "__enter__", lambda self: setattr(self, "requested", True) or self)
        with pytest.raises(Interrupted, match="after step 1 of 2"):
            run_al("steady", runs=tmp_path / "cut", **experiment)
    found = last(run_al("steady", runs=tmp_path / "cut", **experiment))
    assert all(np.array_equal(value, found[name]) for name, value in steady.items())


def test_half_precision_lasts(al_settings, tmp_path, monkeypatch, request):
    """Every network of every round computes in bfloat16, not only those before Keras' session is cleared."""
    import keras

    from fewslice.learner import learner

    seen = []
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))

    class Untrained:
        def __init__(self, run, model, plan):
            seen.append({layer.compute_dtype for layer in model.layers if "conv" in layer.name})
            raise FewSliceError("enough")

    monkeypatch.setattr(learner, "Trainer", Untrained)
    path = tiny_al.write_experiment(tmp_path / "half.yml", model={"mixed_precision": True})
    for _ in range(2):
        with pytest.raises(FewSliceError, match="enough"):
            tiny.execute(tiny_al.SCRIPT, [f"--config={path}", f"--runs_dir={tmp_path / 'runs'}"])
    assert seen == [{"bfloat16"}] * 2
    learner.backend.release_networks()
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
