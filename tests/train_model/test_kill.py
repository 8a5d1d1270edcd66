"""SIGKILL at any moment: the same command again ends with the same picks, weights and numbers, bit for bit.

Expected values: a run of the same settings that nobody disturbed. The moments are drawn from a seed that a failure
prints; FEWSLICE_TEST_SEED=<seed> repeats it. Each run of the tests takes a third of the kinds of moments, by that seed;
FEWSLICE_ALL_CASES=1 takes all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.train_model import tiny, tiny_al, toy_3d

STEPS = ("before step", "after step")
# How a state takes the place of the one before, which is kept: dead between the two renames, and around them.
STATE = (
    "next.state.npz",
    "before state.previous.npz",
    "after state.previous.npz",
    "before state.npz",
    "after state.npz",
)
# MultiFeature Coreset with everything it can look at: the encoder that the experiment pretrains, pixels under simulated
# scribbles, and dropout passes of two networks. Rounds train 2, 3 and 4 steps, validated and saved every 2.
EXPERIMENT = {
    "model": {"model_type": "db_dmpls", "T": 2, "ensemble_size": 2, "max_iterations": 8},
    "policy": {"policy_type": "ranked", "rounds": [[0.25, 0], [0.125, 0], [0.125, 0]]},
    "data_geometry": {
        "data_geometry_type": "kcenter_greedy",
        "feature_model": True,
        "contrastive": True,
        "feature_model_params": {
            "batch_size": 6,
            "num_epochs": 1,
            "inf_batch_size": 5,
            "projection_dim": 8,
            "fuse_image_data": True,
            "pos_loss1": True,
            "use_phase": True,
        },
        "use_labels": True,
        "use_uncertainty": True,
        "uncertainty_wt": 1.0,
    },
    "model_uncertainty": {"model_uncertainty_type": "ensemble", "score_func": "bald"},
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A function that gives the driver a job and returns its answer; `errors` is the file with what went wrong."""
    errors = tmp_path_factory.mktemp("driver") / "errors"
    command = [sys.executable, "-m", "tests.train_model.kill_driver"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tiny.SCRIPTS.parent}
    with open(errors, "w") as file, subprocess.Popen(command, stderr=file, **pipes) as process:

        def ask(job):
            print(json.dumps(job), file=process.stdin, flush=True)
            text = process.stdout.readline()
            assert text, errors.read_text()
            return json.loads(text)

        yield SimpleNamespace(ask=ask, errors=errors)
        process.stdin.close()


@pytest.fixture
def compare(driver, tmp_path, tiny_root):
    """A function (script, argv, moments, **environment) that runs a command undisturbed and killed and compares both.

    The moments are described in `kill_driver.draw_moments`; `more` are drawn of other kinds. Returns the folders of the
    runs.
    """

    def run(script, argv, moments, more=1, **environment):
        seed = int(os.environ.get("FEWSLICE_TEST_SEED", np.random.SeedSequence().entropy % 10**9))
        print(f"FEWSLICE_TEST_SEED={seed}")
        if not os.environ.get("FEWSLICE_ALL_CASES"):
            count = -(-len(moments) // 3)
            moments = [moments[n] for n in sorted(np.random.default_rng(seed).permutation(len(moments))[:count])]
        one, other = tmp_path / "calm", tmp_path / "killed"
        environment = tiny.environment(tiny_root) | environment
        job = {"script": script, "argv": argv, "environment": environment, "calm": str(one), "killed": str(other)}
        found = driver.ask(job | {"moments": moments, "more": more, "seed": seed})
        print("\n".join(found["moments"]))
        assert found["statuses"] == [0, *[-9] * (len(moments) + more), 0], driver.errors.read_text()
        left = [sorted(p.relative_to(d).as_posix() for p in d.rglob("*")) for d in (one, other)]
        assert left[0] == left[1], "nothing is left behind"
        tiny.assert_same(one, other, "*.npz", "*.npy", "*.csv", "*.json", "*.nii.gz")
        return one, other

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "moments", "flags"),
    [
        (tiny.GLOBAL, (*STEPS, *STATE, "train.csv", "last.npz", "DONE"), ("--n_iter=6",)),
        (
            tiny.BASELINE,
            ("step", "after best.npz", "per_volume.csv"),
            ("--n_iter=6", "--average_decay=0.9"),
        ),
    ],
    ids=["global", "baseline"],
)
def test_killed_runs_continue_bit_for_bit(tmp_path, compare, script, moments, flags):
    compare(script, tiny.arguments(script, tmp_path, *flags), moments)


@pytest.mark.slow
def test_killed_joint_training_continues_bit_for_bit(tmp_path, with_baseline, compare):
    """Pseudo-labels are made before step 1 and after step 4."""
    for name in ("calm", "killed"):
        with_baseline(tmp_path / name)
    moments = ("_ED.npy", "_ED.json", "before round.json", "after round.json", "state.npz")
    compare(tiny.JOINT, tiny.arguments(tiny.JOINT, tmp_path), moments)


@pytest.mark.slow
def test_a_killed_experiment_ends_as_an_undisturbed_one(tmp_path, compare):
    path = tiny_al.write_experiment(tmp_path / "killed.yml", **EXPERIMENT)
    settings = str(tiny_al.write_settings(tmp_path / "settings"))
    moments = ("step", "after state.previous.npz", "member.json", "embeddings.partial.json", "plan.json", "scores.csv")
    moments += ("before query.csv", "after query.csv", "labels.npy", "metrics.json", "before DONE", "after DONE")
    moments += ("results.csv",)
    one, _ = compare(tiny_al.SCRIPT, [f"--config={path}"], moments, FEWSLICE_EXPERIMENTS=settings)
    picks = sum(tiny_al.picks(tiny.run_dir(one, tiny_al.SCRIPT)), [])
    assert len(picks) == len(set(picks)) == 8 and len(list(one.rglob("scores.csv"))) == 2


@pytest.mark.slow
def test_killed_rounds_of_patches_by_a_plugin(tmp_path, compare):
    toy_3d.write_toy(tmp_path)
    folders = {"FEWSLICE_DATA": tmp_path, "FEWSLICE_EXPERIMENTS": tmp_path / "settings"}
    environment = {name: str(path) for name, path in (folders | {"FEWSLICE_PLUGINS": tmp_path / "outside.py"}).items()}
    one, _ = compare(tiny_al.SCRIPT, [f"--config={tmp_path / 'toy.yml'}"], ("step", "query.csv"), **environment)
    (run,) = (one / "toy" / tiny_al.SCRIPT).glob("toy-*")
    toy_3d.check_rounds(tmp_path, run)
