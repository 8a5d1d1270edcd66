"""Segments new scans with a trained network, or with several that predict together.

Commands:
    python scripts/predict.py --run=RUN --images=FOLDER --output=FOLDER
    python scripts/predict.py --run=runs/acdc/tr_baseline --images='scans/*/t1.nii.gz' --output=out --probabilities

RUN is the folder of a training with labels (baseline, fine-tuning, joint training) or of an experiment, one of its
rounds or members; or a folder of such runs, whose probabilities are averaged. Preparation and class names come from the
run. Labels lie on the grid of each scan, with its header. Repeating the command resumes an interrupted one and segments
further scans. Scans that cannot be read are named at the end; then the exit status is 1. More: docs/predict.md
"""

from __future__ import annotations

import sys

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.predict_flags import PredictArgs

define(PredictArgs, "run", "images", "output", "batch_size", "passes", "probabilities")
define(PredictArgs, "largest_component", "mirroring", "label_codes", "orientation")


def main(_) -> None:
    args = read(PredictArgs)
    from fewslice.stages.predict import predict

    report = predict(args)
    print(report.describe())
    if report.refused:
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
