r"""Runs an experiment of active learning: round by round a strategy chooses slices and networks are trained on them.

The experiment is a file such as those in experiments/; experiments/README.md lists every key.

  python run_al_exp.py --config=../experiments/phantom_quick.yml
  python run_al_exp.py --config=../experiments/published/acdc_weak_ours.yml --set policy.seed=1

Reads   the experiment and its dataset. Test volumes only score the networks.
Writes  runs/<dataset>/run_al_exp/<name>-<digest>/ with rounds/000/ ... (query.csv, gallery.png, metrics.json, ...)
        and report.html. A repeated command resumes where it was interrupted; rounds can be added at the end.
With    `annotator: files` a round's slices are written as NIfTI for a person, and the command ends; repeat it
        when they are back.
More    docs/active_learning.md, scripts/make_al_report.py for several experiments
"""

from absl import logging

from fewslice.core import app
from fewslice.settings.flag_specs_al import define_al, read_al

define_al()


def main(_argv) -> None:
    args = read_al()
    from fewslice.stages.active import prepare, run_and_report

    job = prepare(args.config, args.overrides)
    logging.info("%s", job.describe())
    if args.check_only:
        return
    run_and_report(job, runs_dir=args.runs_dir, resume=args.resume)


if __name__ == "__main__":
    app.run(main)
