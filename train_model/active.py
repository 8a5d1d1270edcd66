r"""Compares ways to choose histology images by dropout uncertainty: trains, asks for the next images, trains again.

  python active.py with heuristic='bald' run=0 mc_iters=20 results_dir='results'
  python active.py --dataset=glas --heuristic=bald --run=0 --mc_iters=20
  python active.py --heuristic=mc,bald,max,rand --runs=0-4 --jobs=2

Input   the dataset (scripts/create_splits.py makes the lists of GlaS); any dataset of images with masks.
Output  <results_dir>/<heuristic>_<run>.npy: (queries + 1,) float32, mean test Dice after each training; and
        runs/<dataset>/run_al_exp/<heuristic>_<run>-<digest>/, as of run_al_exp.py. Several heuristics or runs make a
        study with one report.
More    docs/histology.md, docs/active_learning.md
"""

from pathlib import Path

from absl import logging

from fewslice.core import app
from fewslice.settings.compat.albaselines import HistologyArgs, flags_of
from fewslice.settings.flags import define, read

define(HistologyArgs)


def main(_argv) -> None:
    args = read(HistologyArgs)
    from fewslice.stages.active import prepare, run_and_report
    from fewslice.stages.histology import study_of, write_results
    from fewslice.stages.study import record_run

    if args.runs or "," in args.heuristic:
        study_of(args)
        return
    job = prepare(args.experiment, args.overrides, data_root=args.data_root)
    logging.info("%s", job.describe())
    if not args.check_only:
        folder = run_and_report(job, runs_dir=args.runs_dir, resume=args.resume)
        record_run(args.record, folder)
        write_results(folder, Path(args.results_dir, f"{job.experiment.name}.npy"))


if __name__ == "__main__":
    app.run(main, flags_of=flags_of)
