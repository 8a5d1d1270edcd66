"""What the log says about the run that a stage starts from. Expected texts: typed by hand."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from absl import logging

from fewslice.core import checkpoint
from fewslice.core.run import Run
from fewslice.settings.stage_flags import EncoderFineTuning, GlobalPretraining, digest_values
from fewslice.train import setup
from fewslice.train.evaluation import validation_of


def finished(root, **settings):
    """Writes a finished run of the global stage. Returns its directory."""
    args, _ = GlobalPretraining(n_iter=10001).completed()
    run = Run(root, "acdc", args.stage, "m", {**digest_values(args), **settings}, n_iter=10001)
    with run:
        run.start({})
        checkpoint.save_arrays(run.checkpoints / "last.npz", {"w": np.ones(2)}, {"step": 4})
        run.finish()
    return run.dir


@pytest.fixture
def lines(monkeypatch):
    """The lines of the log."""
    found = []
    monkeypatch.setattr(logging, "info", lambda text, *args: found.append(text % args))
    return found


def find(root, init_from=None):
    """Returns what fine-tuning starts from."""
    return setup.find_origin(*EncoderFineTuning(runs_dir=str(root), init_from=init_from).completed())


def test_unusual_settings_of_the_run_are_logged(tmp_path, lines):
    folder = finished(tmp_path, strong_views=1, average_decay=0.99, mixed_precision=True)
    origin = find(tmp_path)
    assert origin.path == folder / "checkpoints" / "last.npz"
    told = " (step 4; strong_views=1, mixed_precision=True, average_decay=0.99)."
    assert lines[-1].startswith("Starting from ") and lines[-1].endswith(f"last.npz{told}")
    for chosen in (folder, folder / "checkpoints" / "last.npz"):
        find(tmp_path, str(chosen))
        assert lines.pop().endswith(told)


def test_a_baseline_without_mixup_is_preferred(tmp_path, lines):
    mixed, plain = finished(tmp_path, mixup=0.1), finished(tmp_path)
    assert find(tmp_path).path == plain / "checkpoints" / "last.npz"
    shutil.rmtree(plain)
    assert find(tmp_path).path == mixed / "checkpoints" / "last.npz"


def test_sets_without_a_structure_are_told(caplog):
    def volumes(*labels, image=(0.0, 1.0)):
        return [
            SimpleNamespace(case=SimpleNamespace(case_id=f"p{i}"), shows_structure=bool(x.any()), image=image)
            for i, x in enumerate(labels)
        ]

    empty, full = np.zeros(3, np.uint8), np.ones(3, np.uint8)
    with caplog.at_level("WARNING"):
        setup.warn_of_nothing(volumes(empty, full))
        validation_of(SimpleNamespace(), len, volumes(empty, full))
        assert caplog.messages == []
        setup.warn_of_nothing(volumes(empty, empty))
        validation_of(SimpleNamespace(), len, volumes(empty))
        setup.warn_of_nothing(volumes(full, image=np.ones(4)))
    starts = ["No structure in the training volumes p0, p1:", "No structure in the validation volumes p0:"]
    starts.append("The images of the training volumes p0 are constant:")
    assert [text.startswith(start) for text, start in zip(caplog.messages, starts, strict=True)] == [True] * 3


def test_usual_settings_need_no_word(tmp_path, lines):
    finished(tmp_path)
    find(tmp_path)
    assert lines[-1].endswith("last.npz (step 4).")


def test_a_weight_file_without_a_run(tmp_path, lines):
    checkpoint.save_arrays(tmp_path / "w.npz", {"w": np.ones(2)}, {})
    find(tmp_path, str(tmp_path / "w.npz"))
    assert lines[-1].endswith("w.npz (step unknown).")
