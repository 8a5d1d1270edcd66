"""SIGKILL at any moment: the same command again ends with the same weights, bit for bit.

Expected values: a run of the same settings that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from tests.train_model import tiny

# Moments at which the chain of runs dies, in an order in which each run gets further than the one before; 6 steps in
# all, validated and saved at 2, 4 and 6. The random one comes after a random time, at the latest at the moment named.
RANDOM = "random"
GLOBAL = (
    ("in the monitor", 0),
    ("before a step", 1),
    ("after a step", 1),
    ("writing a file", 0),
    ("before the state", 0),
    ("after the renames", 0),  # steps 1 and 2 are saved
    (RANDOM, "before the state", 0),
    ("before the first rename", 0),
    ("between the renames", 0),  # 4 steps are saved, but the state has no name: starts from the previous one
    ("before the log", 0),
    ("before the last weights", 0),
    ("before the end", 0),
)
BASELINE = (
    ("in validation", 0),
    ("after the best weights", 0),
    ("before the log", 0),  # steps 1 and 2 are saved
    (RANDOM, "before the state", 0),
    ("in the test", 3),
)


def chain(tmp_path, tiny_root, jobs, *, driver="kill_driver", settings=None, timeout=900):
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps(jobs))
    environment = os.environ | tiny.environment(tiny_root) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["FEWSLICE_EXPERIMENTS"] = str(settings or tiny_root / "experiments")
    command = [sys.executable, "-m", f"tests.train_model.{driver}", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, cwd=tiny.SCRIPTS.parent
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def jobs_of(script, argv, moments, delay):
    """Returns the jobs that die at each of the moments, and one that does not."""
    common = {"script": script, "argv": argv}
    jobs = []
    for moment in moments:
        job = common | {"kill": moment[-2:]}
        jobs.append(job | {"seconds": delay} if moment[0] == RANDOM else job)
    return [*jobs, common | {"kill": None}]


def assert_killed_and_equal(tmp_path, script, statuses, moments, told):
    """Compares the run directories in `calm` and `killed`; `statuses` are those of the jobs that were to die."""
    assert statuses == [-9] * len(moments), told
    one, other = tiny.run_dir(tmp_path / "calm", script), tiny.run_dir(tmp_path / "killed", script)
    tiny.assert_same_run(one, other)
    assert (other / "DONE").read_text() == (one / "DONE").read_text()
    files = [sorted(p.relative_to(d).as_posix() for p in d.rglob("*")) for d in (one, other)]
    assert files[0] == files[1], "nothing is left behind"
    return one, other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "moments", "flags"),
    [(tiny.BASELINE, BASELINE, ("--average_decay=0.9",)), (tiny.GLOBAL, GLOBAL, ())],
    ids=["baseline", "global"],
)
def test_killed_runs_continue_bit_for_bit(tmp_path, tiny_root, script, moments, flags):
    calm, killed = (tiny.arguments(script, tmp_path / name, "--n_iter=6", *flags) for name in ("calm", "killed"))
    delay = random.uniform(0.5, 4)  # unseeded on purpose: another moment every time
    jobs = []
    for argv, deaths in ((calm, ()), (killed, moments)):
        jobs += jobs_of(script, argv, deaths, delay)
    statuses, errors = chain(tmp_path, tiny_root, jobs)
    told = f"{statuses} random: {delay:.2f} s\n{errors}"
    assert statuses[0] == 0 and statuses[-1] == 0, told
    assert_killed_and_equal(tmp_path, script, statuses[1:-1], moments, told)
