"""Writes a trained network, or several that predict together, as a folder that works without this software.

Command:
    python scripts/export_run.py --run=RUN --output=NEW_FOLDER

RUN as for predict.py; of an experiment all members are exported. The folder holds the networks for Keras (and ONNX,
where the extra is installed: pip install -e ".[onnx]"), everything that is done to a scan as JSON, and predict.py,
which needs NumPy, nibabel and Keras or onnxruntime only. --largest_component, --mirroring and --label_codes become its
defaults.
More: docs/predict.md
"""

from __future__ import annotations

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.predict_flags import ExportArgs

define(ExportArgs, "run", "output", "largest_component", "mirroring", "label_codes", "orientation")


def main(_) -> None:
    args = read(ExportArgs)
    from fewslice.stages.export import export

    folder = export(args)
    print(f"Exported: {folder}\nTry it:   python {folder / 'predict.py'} --images SCANS --output FOLDER")


if __name__ == "__main__":
    app.run(main)
