"""Writes one HTML file that compares runs: table, outlines over images, curves, provenance.

Command:
    python scripts/make_report.py --dataset=acdc                       every finished run of a dataset
    python scripts/make_report.py --runs=RUN_DIR,RUN_DIR --out=FILE    these runs only

The file contains its figures and can be sent by mail. The same table is printed as text.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from fewslice.core import app
from fewslice.settings.flags import define
from fewslice.settings.stage_flags import OnDataset

FLAGS = flags.FLAGS

define(OnDataset, "dataset", "runs_dir", "data_root")
flags.DEFINE_list("runs", [], "Run directories, separated by commas; default: all finished runs of --dataset.")
flags.DEFINE_string("out", None, "The HTML file; default: report.html in the dataset's folder of runs.")
flags.DEFINE_string("title", None, "Heading of the report.")


def main(_) -> None:
    """Reads the flags, builds the report, prints its table and path."""
    from fewslice.report.pages.html import build_report, missing_lines
    from fewslice.report.reading.methods import read_methods
    from fewslice.report.reading.native import fetch_for
    from fewslice.report.reading.runs import choose_run_dirs
    from fewslice.report.tables.tables import text_report
    from fewslice.settings.dataset_files import checkout

    runs_dir = Path(FLAGS.runs_dir or checkout() / "runs")
    run_dirs = choose_run_dirs(FLAGS.runs, runs_dir, FLAGS.dataset)
    out = Path(FLAGS.out or runs_dir / FLAGS.dataset / "report.html")
    methods = read_methods(run_dirs)
    print(text_report(methods))
    for line in missing_lines(methods):
        logging.warning("%s", line)
    title = FLAGS.title or "FewSlice report"
    print(f"\nReport: {build_report(run_dirs, out, title=title, fetch=fetch_for(run_dirs, FLAGS.data_root)).resolve()}")


if __name__ == "__main__":
    app.run(main)
