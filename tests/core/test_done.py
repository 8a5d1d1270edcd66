"""What a finished folder vouches for: changed, missing and unreadable files, other JSON, folders that vanish."""

from __future__ import annotations

import errno
import logging
import os
import shutil

import numpy as np
import pytest

from fewslice.core import checkpoint, done, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.core.run import Run, find_runs

SETTINGS = {"seed": 0, "temp_fac": 0.1, "stage": "tr_baseline"}
SHAPES = ["{}", "[]", "3", "null", '"x"', '{"n_iter": null}', '{"n_iter": 1e400}', "1e400", '{"n_iter": true}',
          '{"n_iter": "4"}', '{"n_iter": 4, "sha256": []}', '{"n_iter": 4, "sha256": {"config.json": 3}}',
          '{"n_iter": 4, "digest": "0123456789"}', "", "{", '{"n_iter": NaN}', "[" * 10000, "1" * 5000]  # fmt: skip


def make(root, *, n_iter=4, **settings):
    return Run(root, "acdc", "tr_baseline", "m", SETTINGS | settings, n_iter=n_iter)


def finished(root, *, n_iter=4, **settings):
    with make(root, n_iter=n_iter, **settings) as run:
        run.start({"keras": "3"})
        owner = {"run": run.digest, "step": n_iter}
        for name in (done.BEST, done.LAST, done.STATE, "state.previous.npz"):
            checkpoint.save_arrays(run.checkpoints / name, {"w": np.full(2, settings.get("seed", 0))}, owner)
        files.write_text(run.eval / "per_volume.csv", "case_id\n001\n")
        files.write_text(run.logs / "train.csv", "step\n4\n")
        run.finish({"best_step": n_iter, "test_dice": 0.5})
    return run


@pytest.mark.parametrize("text", SHAPES)
def test_a_mark_of_another_shape_is_one_message(tmp_path, text):
    run = finished(tmp_path)
    (run.dir / "DONE").write_text(text)
    with pytest.raises(DataError, match=r"DONE\n.*expected: .*\n.*found: .*\n.*remedy: .*what is saved"):
        run.is_done  # noqa: B018


def assert_left_out(root, damaged, caplog, text):
    """One message names the run and what is wrong with it, though it is looked for twice; others are found."""
    other = finished(root, seed=7)
    for _ in range(2):
        assert [path for path, _ in find_runs(root, "acdc", "tr_baseline")] == [other.dir]
    assert caplog.text.count(str(damaged.dir / "config.json")) == 1 and text in caplog.text


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{", '{"digest": "1"}', '{"seed": 1, "digest": null}'])
def test_settings_of_another_shape_are_one_message(tmp_path, text, caplog):
    run = finished(tmp_path)
    (run.dir / "config.json").write_text(text)
    assert_left_out(tmp_path, run, caplog, "expected: ")


def test_changed_settings_are_no_others(tmp_path, caplog):
    """Also in runs from before there were checksums: the digest is one."""
    run = finished(tmp_path)
    config = run.dir / "config.json"
    config.write_text(config.read_text().replace('"temp_fac": 0.1', '"temp_fac": 0.2'))
    files.write_json(run.dir / "DONE", {"n_iter": 4})
    assert_left_out(tmp_path, run, caplog, "others: it was changed")


def test_changed_steps_in_the_settings(tmp_path, caplog):
    """They are no part of the digest, and decide which run a later stage takes."""
    run = finished(tmp_path)
    config = run.dir / "config.json"
    config.write_text(config.read_text().replace('"n_iter": 4', '"n_iter": 9'))
    assert_left_out(tmp_path, run, caplog, "another content than when it was finished")


def test_what_differs_is_named_and_made_again(tmp_path, caplog):
    run = finished(tmp_path)
    assert run.is_done and done.problems(run.dir) == {}
    (run.eval / "per_volume.csv").write_text("case_id\n002\n")
    (run.dir / "config.json").unlink()
    found = done.problems(run.dir)
    assert {name: error.found for name, error in found.items()} == {
        "config.json": "no such file", "eval/per_volume.csv": "another content than when it was finished",
    }  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert not run.is_done
    assert "Not as it was when finished" in caplog.text and "per_volume.csv" in caplog.text
    with make(tmp_path) as again:
        again.start({})
        again.finish({})
    assert again.is_done and files.read_json(run.dir / "config.json")["digest"] == run.digest


def test_what_cannot_be_made_again_keeps_the_mark(tmp_path):
    run = finished(tmp_path)
    (run.checkpoints / "best.npz").unlink()
    for n_iter in (4, 6):
        with (
            make(tmp_path, n_iter=n_iter) as again,
            pytest.raises(DataError, match=r"best.npz\n.*\n.*no such file\n.*Restore it from a copy"),
        ):
            again.start({})
    assert (run.dir / "DONE").exists()


@pytest.mark.parametrize("name", ["query.csv", "rounds/000/DONE"])
def test_what_is_taken_over_as_it_is_must_be_unchanged(tmp_path, name):
    """A choice of slices, and a round that is consistent by itself; a missing one is made again."""
    with make(tmp_path) as run:
        run.start({})
        files.write_text(run.dir / name, "units")
        run.finish({})
    (run.dir / name).write_text("other units")
    for n_iter in (4, 6):
        with make(tmp_path, n_iter=n_iter) as again, pytest.raises(DataError, match="or move it elsewhere and repeat"):
            again.start({})
    (run.dir / name).unlink()
    with make(tmp_path) as again:
        assert not again.is_done
        again.start({})


def test_a_digit_of_the_mark_itself(tmp_path):
    run = finished(tmp_path)
    mark = run.dir / "DONE"
    mark.write_text(mark.read_text().replace('"test_dice": 0.5', '"test_dice": 0.9'))
    assert list(done.problems(run.dir)) == ["DONE"]


def test_files_without_permission(tmp_path, monkeypatch):
    """Simulated, since tests may run as root."""
    run = finished(tmp_path)

    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_text", refuse)
        with pytest.raises(DataError, match=r"DONE\n.*\n.*Permission denied\n.*chmod"):
            run.is_done  # noqa: B018
    monkeypatch.setattr(files, "sha256", refuse)
    assert {error.found for error in done.problems(run.dir).values()} == {"Permission denied"}


def remove(run):
    shutil.rmtree(run.dir)


def move(run):
    os.rename(run.dir, run.dir.with_name("moved"))


def replace(run):
    shutil.rmtree(run.dir)
    shutil.copytree(run.dir.with_name("copy"), run.dir)


@pytest.mark.parametrize("change", [remove, move, replace])
def test_a_folder_that_vanishes_ends_the_process(tmp_path, change):
    with make(tmp_path) as run:
        run.start({})
        shutil.copytree(run.dir, run.dir.with_name("copy"))
        files.write_text(run.checkpoints / "a.txt", "before")
        change(run)
        for write in (lambda: files.write_text(run.checkpoints / "a.txt", "after"), lambda: run.finish({})):
            with pytest.raises(FewSliceError):
                write()
        with pytest.raises(FewSliceError, match="was removed, moved or replaced while this process"):
            files.write_text(run.checkpoints / "a.txt", "after")
        files.write_text(tmp_path / "elsewhere.txt", "free")
    assert not (run.dir / "DONE").exists() and not (run.dir / "checkpoints").exists()
    with make(tmp_path) as run:
        files.write_text(run.dir / "a.txt", "another process may")


def test_no_mark_without_settings(tmp_path):
    with make(tmp_path) as run:
        run.start({})
        (run.dir / "config.json").unlink()
        with pytest.raises(DataError, match=r"config.json\n.*\n.*no such file\n.*Repeat the same command"):
            run.finish({})
    assert not (run.dir / "DONE").exists()


def test_a_tidied_run_is_finished_but_not_extended(tmp_path):
    run = finished(tmp_path)
    size = sum(path.stat().st_size for path in done.states(run.dir))
    assert done.tidy(run.dir) == size > 0 and done.tidy(run.dir) == 0
    assert run.is_done and checkpoint.load_weights(run.checkpoints / "best.npz")[1]["step"] == 4
    with make(tmp_path, n_iter=6) as more, pytest.raises(ConfigError, match="then tidied.*--n_iter=4"):
        more.start({})
    assert run.is_done
    (run.dir / "config.json").write_text("{}")
    with make(tmp_path) as again, pytest.raises(DataError, match="Restore it from a copy"):
        again.start({})
    assert (run.dir / "DONE").exists()


def test_an_unfinished_run_is_not_tidied(tmp_path):
    run = finished(tmp_path)
    (run.dir / "DONE").unlink()
    assert done.tidy(run.dir) == 0 and len(done.states(run.dir)) == 2


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_weights_of_another_run_or_step_are_refused(tmp_path, name):
    mine, other = finished(tmp_path), finished(tmp_path, seed=1)
    path = mine.checkpoints / name
    assert checkpoint.load_weights(path)[2] == files.sha256(path)
    shutil.copy(other.checkpoints / name, path)
    with pytest.raises(DataError, match=f"run {other.digest} and not {mine.digest}"):
        checkpoint.load_weights(path)
    checkpoint.save_arrays(path, {"w": np.ones(2)}, {"run": mine.digest, "step": 4})
    with pytest.raises(DataError, match="another file than when it was finished"):
        checkpoint.load_weights(path)
    (mine.dir / "DONE").unlink()
    assert checkpoint.load_weights(path)[1]["step"] == 4, "an unfinished run has no checksums yet"


def test_weights_from_before_there_were_checksums(tmp_path, caplog):
    run = finished(tmp_path)
    files.write_json(run.dir / "DONE", {"n_iter": 4, "best_step": 4})
    path = run.checkpoints / "best.npz"
    checkpoint.save_arrays(path, {"w": np.ones(2)}, {"step": 4})
    with caplog.at_level(logging.INFO):
        assert checkpoint.load_weights(path)[1] == {"step": 4}
    assert "Nothing vouches for" in caplog.text and run.is_done
    checkpoint.save_arrays(path, {"w": np.ones(2)}, {"step": 2})
    with pytest.raises(DataError, match="step 2 and not 4"):
        checkpoint.load_weights(path)
