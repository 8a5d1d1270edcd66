"""The length of the run that a stage starts from, where the command line does not say it."""

from __future__ import annotations

import pytest

from fewslice.core import files
from fewslice.core.errors import ConfigError
from fewslice.settings.stage_flags import digest_values
from fewslice.train import upstream
from tests.train_model import tiny

FLAGS = ("--method=unimatch", "--no_of_tr_imgs=tr1")


@pytest.fixture
def joint(tiny_root, tmp_path, monkeypatch):
    """A function (*flags) that returns the flags of joint training and the dataset; a baseline of 4 steps is there."""
    from fewslice.settings.flags import read_from
    from fewslice.settings.stage_flags import JointTraining

    for name, value in tiny.environment(tiny_root).items():
        monkeypatch.setenv(name, value)

    def read(*flags):
        return read_from(JointTraining, ["--dataset=tiny", f"--runs_dir={tmp_path}", *FLAGS, *flags])

    wanted = upstream.settings_of_upstream(read("--pretr_n_iter=4")[0])
    run = tmp_path / "tiny" / tiny.BASELINE / "tr1_c1_s0-0123456789"
    files.write_json(run / "config.json", {**wanted, "n_iter": 4})
    files.write_json(run / "DONE", {"n_iter": 4})
    read.run = run
    return read


def test_a_run_of_another_length_is_taken_with_a_warning(joint, caplog, monkeypatch):
    asked, (usual, dataset) = joint("--pretr_n_iter=4")[0], joint()
    settled = upstream.settled(usual, dataset)
    assert digest_values(settled) == digest_values(asked) != digest_values(usual), "both find the same run directory"
    assert upstream.locate(settled, dataset, flag="teacher") == joint.run
    assert upstream.settled(asked, dataset) is asked
    assert caplog.text.count("was trained for 4 steps, not for the usual") == 1
    monkeypatch.setenv("FEWSLICE_CHAIN", "0 hours")  # its trainings are as long as the hours allow
    assert upstream.settled(usual, dataset) == settled
    assert caplog.text.count("was trained for 4 steps") == 1
    with pytest.raises(ConfigError, match="n_iter=5"):
        upstream.check(*joint("--pretr_n_iter=5"))


def test_the_command_for_a_run_that_has_gone_further_is_one_that_it_accepts(joint):
    config = files.read_json(joint.run / "config.json")
    files.write_json(joint.run / "config.json", {**config, "n_iter": 7})
    (joint.run / "DONE").unlink()
    with pytest.raises(ConfigError) as caught:
        upstream.check(*joint("--pretr_n_iter=4"))
    text = str(caught.value)
    assert "was extended from 4 to 7 steps. It is not finished; continue it:\n  python tr_baseline.py" in text
    assert "--n_iter=7" in text and "--n_iter=4" not in text and "Say so by --pretr_n_iter=7" in text
