r"""Runs an experiment of active learning: round by round a strategy chooses slices and networks are trained on them.

The experiment is a file such as those in experiments/; experiments/README.md lists every key.

  python run_al_exp.py --config=../experiments/phantom_quick.yml
  python run_al_exp.py --config=../experiments/acdc_weak_ours.yml --set policy.seed=1

Reads   the experiment and its dataset. Test volumes only score the networks.
Writes  runs/<dataset>/run_al_exp/<exp_dir>-<digest>/ with rounds/000/ ... (query.csv, gallery.png, metrics.json, ...)
        and report.html. A repeated command goes on where it was interrupted; rounds can be added at the end.
With    `policy.annotator: files` a round's slices are written as NIfTI for a person, and the command ends; repeat it
        when they are back.
More    docs/active_learning.md, scripts/make_al_report.py for several experiments
"""

from absl import logging

from fewslice.core import app
from fewslice.core.console import without_native_messages
from fewslice.settings.al_flags import AlArgs
from fewslice.settings.flags import define, read

define(AlArgs)


def main(_argv) -> None:
    args = read(AlArgs)
    from fewslice.stages.active_checks import prepare

    job = prepare(args.config, args.overrides, data_root=args.data_root)
    logging.info("%s", job.describe())
    if args.check_only:
        return
    with without_native_messages():
        from fewslice.stages.active import run_and_report

    run_and_report(job, runs_dir=args.runs_dir, resume=args.resume)


if __name__ == "__main__":
    app.run(main)
