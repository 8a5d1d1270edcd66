r"""Runs an active-learning experiment: each round, a strategy queries slices and networks are trained on the labels.

The experiment is a file such as those in experiments/; experiments/README.md lists every key.

  python run_al_exp.py --config=../experiments/phantom_quick.yml
  python run_al_exp.py --config=../experiments/published/acdc_weak_ours.yml --set policy.seed=1

Input   the experiment and its dataset. Test volumes are used for evaluation only.
Output  runs/<dataset>/run_al_exp/<name>-<digest>/ with rounds/000/ ... (query.csv, gallery.png, metrics.json, ...)
        and report.html. A repeated command resumes where it was interrupted; rounds can be added at the end.
        With `annotator: files` a round's slices are written for a person, and the command ends; repeat it when the
        labels are there. --redo_round=N takes corrected files.
Study   --study=seed=0-4 --study=query.strategy=random,mfc --jobs=2 runs all combinations, and one report compares
        them; --cluster=slurm makes each a job.
More    docs/active_learning.md, docs/annotate.md, scripts/make_al_report.py for several experiments
"""

from absl import logging

from fewslice.core import app
from fewslice.settings.al_flags import AlArgs
from fewslice.settings.flags import define, read

define(AlArgs)


def main(_argv) -> None:
    args = read(AlArgs)
    from fewslice.stages.active import prepare, run_and_report
    from fewslice.stages.study import record_run, study_of

    if args.study:
        study_of(args)
        return
    job = prepare(args.config, args.overrides, data_root=args.data_root)
    logging.info("%s", job.describe())
    if args.check_only:
        return
    of_person = {"prefill": args.prefill, "accept": args.accept, "redo_round": args.redo_round}
    record_run(args.record, run_and_report(job, runs_dir=args.runs_dir, resume=args.resume, **of_person))


if __name__ == "__main__":
    app.run(main)
