"""pseudo_lbl_rand_init.sh: which script gets which flags, with a Python that only writes down how it was called."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.train_model import tiny

CHAIN = tiny.SCRIPTS / "pseudo_lbl_rand_init.sh"
BASELINE, JOINT, REPORT = "tr_baseline.py", "prop_method_joint_tr_rand_init.py", "../scripts/make_report.py"


@pytest.fixture
def chain(tmp_path):
    """A function (*words, failing="") that runs the script; returns its exit status, calls and error output."""

    def run(*words, failing=""):
        log, fake = tmp_path / "log", tmp_path / "python"
        log.write_text("")
        fake.write_text(
            f'#!/usr/bin/env bash\n[[ "$1" == -c ]] && exit {int(failing == "-c")}\necho "$@" >> {log}\n'
            f'[[ "$1" != "{failing}" || "$*" == *--check_only* ]]\n'
        )
        fake.chmod(0o755)
        environment = {"PYTHON": str(fake), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", str(CHAIN), *words], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        calls = [line.split() for line in log.read_text().splitlines()]
        if calls:
            assert calls[0][0] == JOINT and "--check_only" in calls.pop(0), "flags are checked first"
        return done.returncode, calls, done.stderr

    return run


def test_the_published_command(chain):
    status, calls, _ = chain("tr2", "c1", "acdc")
    assert status == 0
    shared = ["--dataset=acdc", "--no_of_tr_imgs=tr2", "--comb_tr_imgs=c1"]
    assert calls == [
        [BASELINE, *shared, "--n_iter=5001", "--noextend"],
        [JOINT, *shared],  # its own defaults: 15001 and 5001 steps
        [REPORT, "--dataset=acdc"],
    ]


def test_further_flags_go_to_both_and_those_of_the_joint_training_to_it_alone(chain, tmp_path):
    flags = ("--n_iter=200", "--seed=1", "--lamda_local=0.5", "--crf=none", "--mixed_precision", "--runs_dir=here")
    status, (baseline, joint, report), _ = chain("tr1", "c1", "phantom", *flags)
    assert status == 0
    runs = f"--runs_dir={tmp_path}/here"  # a relative folder is meant from where the user is
    assert baseline[4:] == ["--seed=1", "--mixed_precision", runs, "--n_iter=200"]
    assert set(joint[4:]) == {
        "--seed=1", "--mixed_precision", runs, "--lamda_local=0.5", "--crf=none", "--n_iter=200", "--pretr_n_iter=200",
    }  # fmt: skip
    assert report[1:] == ["--dataset=phantom", runs]


def test_help_is_given_anywhere(chain):
    for words in (("--help",), ("tr1", "c1", "acdc", "--help"), ("tr1", "-h")):
        assert chain(*words)[:2] == (0, [])


def test_steps_can_be_set_apart(chain):
    for flags in (("--baseline_n_iter=7", "--joint_n_iter=9"), ("--joint_n_iter=9", "--n_iter=7")):
        _, (baseline, joint, _), _ = chain("tr1", "c1", "phantom", *flags)
        assert "--n_iter=7" in baseline
        assert {"--n_iter=9", "--pretr_n_iter=7"} <= set(joint)


def test_a_named_teacher_needs_no_baseline(chain, tmp_path):
    _, calls, _ = chain("tr1", "c1", "phantom", "--teacher=some/run")
    assert [call[0] for call in calls] == [JOINT, REPORT]
    assert f"--teacher={tmp_path}/some/run" in calls[0]


@pytest.mark.parametrize(("failing", "called"), [(BASELINE, [BASELINE]), (JOINT, [BASELINE, JOINT])])
def test_it_stops_at_the_first_failing_step(chain, failing, called):
    status, calls, _ = chain("tr1", "c1", "phantom", failing=failing)
    assert status != 0
    assert [call[0] for call in calls] == called


def test_an_environment_that_is_not_active_is_told_in_one_message(chain):
    status, calls, errors = chain("tr1", "c1", "phantom", failing="-c")
    assert status == 1 and calls == [] and errors.count("ERROR") == 1
    assert "lacks the packages of this software" in errors and "PYTHON=.venv/bin/python" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tr1 c1 phantom --seed", "--name=value"),
        ("tr1 c1 phantom tr3", "--name=value"),
        ("tr1 c1 phantom --pretr_n_iter=5", "--baseline_n_iter=5"),
        ("tr1 c1 phantom --dataset=acdc", "place of its own"),
        ("phantom tr1 c1", "bash pseudo_lbl_rand_init.sh tr1 c1 phantom"),  # the order of the other script
    ],
)
def test_what_it_does_not_understand_is_refused_before_anything_runs(chain, words, message):
    status, calls, errors = chain(*words.split())
    assert status == 1 and calls == []
    assert message in errors


def test_flags_that_it_keeps_for_the_joint_training_are_those_that_only_this_has():
    from fewslice.settings.declare import settings_of
    from fewslice.settings.stage_flags import Baseline, JointTraining

    text = CHAIN.read_text()
    own = set(settings_of(JointTraining)) - set(settings_of(Baseline))
    handled = {name for name in own if f"--{name}=*" in text or f"--{name})" in text}
    assert handled == own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_killed_chain_ends_its_python(tmp_path, number):
    """Once, and the chain waits until Python has saved."""
    fake, log = tmp_path / "python", tmp_path / "log"
    saves = "trap 'echo got >> {0}; sleep 0.2; echo saved >> {0}; exit 130' {1}"
    fake.write_text(
        f"#!/usr/bin/env bash\n[[ $1 == -c ]] && exit\n{saves.format(log, number.name)}\necho $$ > {log}\n"
        "while true; do sleep 0.05; done\n"
    )
    fake.chmod(0o755)
    process = subprocess.Popen(["bash", str(CHAIN)], env={"PYTHON": str(fake), "PATH": "/usr/bin:/bin"})
    while not (log.exists() and log.read_text()):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(10) == 128 + number and log.read_text().split()[1:] == ["got", "saved"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().split()[0]), 0)


def test_hours_are_shared_by_the_published_steps(chain):
    _, (baseline, joint, _), _ = chain("tr1", "c1", "phantom", "--hours=4")
    assert "--hours=1" in baseline and "--hours=3" in joint
    assert not [word for word in (*baseline, *joint) if "n_iter" in word or word == "--noextend"]
    _, (joint, _), _ = chain("tr1", "c1", "phantom", "--hours=4", "--teacher=run")
    assert "--hours=4" in joint


@pytest.mark.parametrize("flags", [("--hours=x",), ("--hours=0",), ("--hours=1", "--n_iter=5"), ("--hours=",)])
def test_hours_that_mean_nothing_are_refused(chain, flags):
    status, calls, error = chain("tr1", "c1", "phantom", *flags)
    assert (status, calls) == (1, []) and "ERROR: --hours" in error
