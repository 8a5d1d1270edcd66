"""What the log says about the run that a stage starts from. Expected texts: typed by hand."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging

from fewslice.core import checkpoint
from fewslice.core.run import Run
from fewslice.train import setup
from fewslice.train.upstream import GLOBAL_STAGE


def former(root, **settings):
    """Writes a finished run of the global stage. Returns its directory."""
    plain = {"stage": GLOBAL_STAGE, "seed": 0, "strong_views": 0, "average_decay": 0.0, "mixed_precision": False}
    run = Run(root, "acdc", GLOBAL_STAGE, "m", plain | settings, n_iter=4)
    with run:
        run.start({}, seconds_log=False)
        checkpoint.save_arrays(run.checkpoints / "last.npz", {"w": np.ones(2)}, {"step": 4})
        run.finish()
    return run.dir


@pytest.fixture
def lines(monkeypatch):
    """The lines of the log."""
    found = []
    monkeypatch.setattr(logging, "info", lambda text, *args: found.append(text % args))
    return found


def args(root, init_from=None):
    return SimpleNamespace(
        init_from=init_from, runs_dir=str(root), dataset="acdc", data_root="d", set=(), mixed_precision=False
    )


def test_unusual_settings_of_the_run_are_logged(tmp_path, lines):
    folder = former(tmp_path, strong_views=1, average_decay=0.99, mixed_precision=True)
    origin = setup.find_origin(args(tmp_path), GLOBAL_STAGE, {"seed": 0})
    assert origin.path == folder / "checkpoints" / "last.npz"
    told = " (step 4; mixed_precision=True, average_decay=0.99, strong_views=1)."
    assert lines[0].startswith("Starting from ") and lines[0].endswith(f"last.npz{told}")
    for chosen in (folder, folder / "checkpoints" / "last.npz"):
        setup.find_origin(args(tmp_path, str(chosen)), GLOBAL_STAGE, {"seed": 0})
        assert lines.pop().endswith(told)


def test_a_baseline_without_mixup_is_preferred(tmp_path, lines):
    mixed, plain = former(tmp_path, mixup=0.1), former(tmp_path)
    assert setup.find_origin(args(tmp_path), GLOBAL_STAGE, {"seed": 0}).path == plain / "checkpoints" / "last.npz"
    shutil.rmtree(plain)
    assert setup.find_origin(args(tmp_path), GLOBAL_STAGE, {"seed": 0}).path == mixed / "checkpoints" / "last.npz"


def test_usual_settings_need_no_word(tmp_path, lines):
    former(tmp_path)
    setup.find_origin(args(tmp_path), GLOBAL_STAGE, {"seed": 0})
    assert lines[0].endswith("last.npz (step 4).")


def test_a_weight_file_without_a_run(tmp_path, lines):
    checkpoint.save_arrays(tmp_path / "w.npz", {"w": np.ones(2)}, {})
    setup.find_origin(args(tmp_path, str(tmp_path / "w.npz")), GLOBAL_STAGE, {"seed": 0})
    assert lines[0].endswith("w.npz (step unknown).")
