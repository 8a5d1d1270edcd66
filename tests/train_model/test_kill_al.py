"""SIGKILL at any moment of an experiment: the same command again ends with the same picks, weights and numbers.

Expected values: a run of the same experiment that nobody disturbed.
"""

from __future__ import annotations

import random

import pytest

from tests.train_model import tiny, tiny_al
from tests.train_model.test_kill import RANDOM, chain, jobs_of

# MultiFeature Coreset with everything it can look at: the encoder that the experiment pretrains, pixels under simulated
# scribbles, and dropout passes of two networks. Rounds train 2, 3 and 4 steps, validated and saved every 2.
GEOMETRY = {
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
}
UNCERTAINTY = {"model_uncertainty_type": "ensemble", "score_func": "bald"}
MODEL = {"model_type": "db_dmpls", "T": 2, "ensemble_size": 2, "max_iterations": 8}
# In an order in which each process gets further than the one before. The random one comes after a random time, at the
# latest at the moment named.
MOMENTS = (
    ("before the state", 1),  # of the encoder, which has 2 steps saved
    ("in the embedding", 0),
    ("before the choice", 0),
    ("after the choice", 0),
    ("in the purchase", 0),
    ("after the purchase", 0),
    ("before a step", 1),  # of the first network of round 0
    ("in the test", 1),  # the first of two test volumes, after the validation volume
    ("after the member", 0),
    ("after the best weights", 0),
    ("before the metrics", 0),
    ("in the scores", 2),  # of round 1: the first pass of the second network
    ("after the scores", 0),
    (RANDOM, "in validation", 2),
    ("before the last weights", 0),
    ("before the round is done", 0),
    ("in the selection", 0),  # of round 2
    ("between the renames", 1),
    ("before the end", 0),
    ("within the report", 0),
)


@pytest.mark.slow
def test_a_killed_experiment_ends_as_an_undisturbed_one(tmp_path, tiny_root):
    path = tiny_al.write_experiment(
        tmp_path / "killed.yml",
        model=MODEL,
        policy={"policy_type": "ranked", "rounds": [[0.25, 0], [0.125, 0], [0.125, 0]]},
        data_geometry=GEOMETRY,
        model_uncertainty=UNCERTAINTY,
    )
    calm, killed = ([f"--config={path}", f"--runs_dir={tmp_path / name}"] for name in ("calm", "killed"))
    delay = random.uniform(0.5, 4)  # unseeded on purpose: another moment every time
    jobs = []
    for argv, deaths in ((calm, ()), (killed, MOMENTS)):
        jobs += jobs_of(tiny_al.SCRIPT, argv, deaths, delay)
    settings = tiny_al.write_settings(tmp_path / "settings")
    statuses, errors = chain(tmp_path, tiny_root, jobs, driver="kill_al_driver", settings=settings)
    assert statuses == [0, *[-9] * len(MOMENTS), 0], f"{statuses} random: {delay:.2f} s\n{errors}"
    one, other = (tiny.run_dir(tmp_path / name, tiny_al.SCRIPT) for name in ("calm", "killed"))
    tiny_al.assert_same_experiment(one, other)
    tiny.assert_same_run(*(tiny.run_dir(tmp_path / name, tiny.GROUP) for name in ("calm", "killed")))
    files = [sorted(p.relative_to(d).as_posix() for p in d.rglob("*")) for d in (one, other)]
    assert files[0] == files[1], "nothing is left behind"
    bought = sum(tiny_al.picks(one), [])
    assert len(bought) == len(set(bought)) == 8 and len(list(one.rglob("scores.csv"))) == 2
