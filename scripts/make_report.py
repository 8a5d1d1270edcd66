"""Writes one HTML file that compares runs: table, outlines over images, curves, provenance.

Command:
    python scripts/make_report.py --dataset=acdc                       every finished run of a dataset
    python scripts/make_report.py --runs=RUN_DIR,RUN_DIR --out=FILE    these runs only

The file contains its figures and can be sent by mail. The same table is printed as text. A run of which a file is
damaged, or not the one that the run wrote, is named and left out; then the exit status is 1.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import OnDataset

FLAGS = flags.FLAGS

define(OnDataset, "dataset", "runs_dir", "data_root")
flags.DEFINE_list("runs", [], "Run directories, separated by commas; default: all finished runs of --dataset.")
flags.DEFINE_string("out", None, "The HTML file; default: report.html in the dataset's folder of runs.")
flags.DEFINE_string("title", None, "Heading of the report.")
flags.DEFINE_bool("tidy", False, "Remove the saved states of these runs, unless one is damaged; see docs/runs.md.")


def main(_) -> None:
    from fewslice.report.figures.native import fetch_from
    from fewslice.report.pages.trainings import TITLE, missing_lines, text_report, write_training_report
    from fewslice.report.reading.methods import group_runs
    from fewslice.report.reading.runs import choose_trainings, read_runs, refuse_damaged, tidied
    from fewslice.settings.dataset_files import checkout

    read(OnDataset).load_dataset()  # checks --dataset
    runs_dir = Path(FLAGS.runs_dir or checkout() / "runs")
    out = Path(FLAGS.out or runs_dir / FLAGS.dataset / "report.html")
    paths = choose_trainings(FLAGS.runs, runs_dir, FLAGS.dataset)
    runs, left_out = read_runs(paths)
    methods = group_runs(runs)
    print(text_report(methods))
    for line in (*left_out, *missing_lines(methods)):
        logging.warning("%s", line)
    fetch = fetch_from(methods[0].runs[0].dataset, FLAGS.data_root)
    path = write_training_report(methods, out, title=FLAGS.title or TITLE, fetch=fetch, left_out=left_out)
    print(f"\nReport: {path.resolve()}")
    refuse_damaged(paths, runs)
    if FLAGS.tidy:
        print(tidied(paths))


if __name__ == "__main__":
    app.run(main)
