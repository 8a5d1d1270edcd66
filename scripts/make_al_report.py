"""Writes one HTML file that compares active-learning experiments, and all of their numbers as a table.

Command:
    python scripts/make_al_report.py --dataset=acdc_h5                       all experiments of a dataset
    python scripts/make_al_report.py --dataset=acdc_h5 --experiments=DIR,DIR --output=FILE.html

Reads runs/<dataset>/run_al_exp/ and nothing else. Experiments that differ only in their seed are one method. The page
has learning curves with intervals over seeds, tables with areas under the curves and differences from random choice,
what each strategy chose, and every experiment in full; results.csv has one row per experiment, round and metric.
Experiments that are unfinished or damaged, and those without any result yet, are named apart from the others. What is
damaged, or not what the experiment wrote, is left out; then the exit status is 1.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from fewslice.core import app
from fewslice.settings.flags import define
from fewslice.settings.stage_flags import OnDataset

FLAGS = flags.FLAGS

define(OnDataset, "dataset", "runs_dir")
flags.DEFINE_list("experiments", [], "Folders of experiments, separated by commas; default: all of --dataset.")
flags.DEFINE_string("output", None, "The HTML file; default: report.html beside the dataset's experiments.")
flags.DEFINE_string("title", None, "Heading of the report.")
flags.DEFINE_bool("tidy", False, "Remove the saved states of these runs, unless one is damaged; see docs/runs.md.")


def main(_) -> None:
    from fewslice.report.pages.experiments import TITLE, results_path, text_report, write_report_of
    from fewslice.report.reading import runs as reading
    from fewslice.report.reading.methods import group_runs
    from fewslice.settings.dataset_files import checkout

    runs_dir = Path(FLAGS.runs_dir or checkout() / "runs")
    paths = reading.choose_experiments(FLAGS.experiments, runs_dir, FLAGS.dataset)
    experiments, warnings = reading.read_experiments(paths)
    warnings += reading.not_vouched(experiments)
    found, waiting = reading.split_results(experiments)
    methods = group_runs(found)
    for line in warnings:
        logging.warning("%s", line)
    print(text_report(methods, waiting))
    out = Path(FLAGS.output or runs_dir / experiments[0].dataset / reading.EXPERIMENTS / "report.html")
    path = write_report_of(methods, waiting, warnings, out, title=FLAGS.title or TITLE)
    print(f"\nReport: {path.resolve()}\nNumbers: {results_path(path).resolve()}")
    reading.refuse_damaged(paths, experiments)
    if FLAGS.tidy:
        print(reading.tidied(paths))


if __name__ == "__main__":
    app.run(main)
