"""The histology experiments: their results as published arrays, studies over heuristics and runs, full supervision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.core import files
from fewslice.data import cache
from fewslice.evaluate.summary import mean_foreground_dice
from fewslice.evaluate.volumes import evaluate_cases
from fewslice.learner.trained import find_trained
from fewslice.report.reading.runs import TEST, read_experiments
from fewslice.settings.compat.albaselines import HistologyArgs
from fewslice.stages.active import Job, prepare
from fewslice.stages.study import combinations, repeated_flags, run_study, values_of


def write_results(run_dir: Path, path: Path) -> None:
    """Writes the mean test Dice of each training of a run, (rounds,) float32, as the published code does."""
    (run,), _ = read_experiments([run_dir])
    dice = np.array([one.metrics.get(TEST, np.nan) for one in run.rounds if not one.is_skipped], np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_array(path, dice)
    logging.info("Mean test Dice of %d trainings: %s", len(dice), path)


def study_of(args: HistologyArgs) -> Path | None:
    """Runs every heuristic in every run, and writes one report. Returns the report, None for `--check_only`."""
    axes = {"heuristic": values_of(args.heuristic), "run": values_of(args.runs or str(args.run))}
    experiments, same = {}, repeated_flags("heuristic", "run", "runs", "check_only")
    for one in combinations(axes):
        chosen = dataclasses.replace(args, heuristic=one["heuristic"], run=int(one["run"]))
        job = prepare(chosen.experiment, args.overrides, data_root=args.data_root)
        experiments[job.experiment.name] = [*same, *(f"--{name}={value}" for name, value in one.items())]
        logging.info("%s", job.describe())
    return None if args.check_only else run_study("active", args.dataset, experiments, args)


def dice_of_passes(job: Job, run_dir: Path, passes: int) -> float:
    """Returns the mean test Dice of the network of a run by so many dropout passes; scores go to eval_<passes>/."""
    from fewslice.learner.learner import load_part

    (run,) = find_trained(str(run_dir))
    network = dataclasses.replace(run.network, passes=passes)
    predict = network.predictor(load_part(run, job.dataset), 1)
    test = cache.open_volumes(job.dataset, job.test, job.dataset.unlabeled_phases, with_label=True)
    out = run_dir / f"eval_{passes}"
    pairs = ((volume, volume.native) for volume in test)
    scores = evaluate_cases(pairs, predict, dataset=job.dataset, out_dir=out, save_predictions=False)
    return mean_foreground_dice(scores)
