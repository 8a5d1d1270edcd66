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

import os

from absl import flags, logging

from fewslice import app, experiment_files
from fewslice.console import without_native_messages
from fewslice.flags import define, flag_values_of, parse_overrides

define("data_root", "runs_dir", "resume")
flags.DEFINE_string("config", None, "The experiment, a .yml file.")
flags.DEFINE_multi_string(
    "set",
    [],
    "group.key=value overrides the experiment, such as policy.seed=1; name=value an attribute of init_<dataset>.py, "
    "such as img_size_x=96. May be repeated.",
)
flags.DEFINE_bool("check_only", False, "Check the experiment and its dataset, say what it would do, and stop.")
flags.mark_flag_as_required("config")


def main(_argv) -> None:
    values = flag_values_of()
    if values["data_root"]:
        os.environ["FEWSLICE_DATA"] = os.path.abspath(values["data_root"])
    runs_dir = os.path.abspath(values["runs_dir"] or experiment_files.checkout() / "runs")
    from fewslice.stages.active_checks import prepare

    job = prepare(values["config"], parse_overrides(values["set"]))
    logging.info("%s", job.describe())
    if values["check_only"]:
        return
    with without_native_messages():
        from fewslice.stages.active import run_and_report

    run_and_report(job, runs_dir=runs_dir, resume=values["resume"])


if __name__ == "__main__":
    app.run(main)
