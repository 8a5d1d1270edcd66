"""Corrects the bias field (slow shading) of MR images with N4.

Commands:
    python scripts/N4_bias_correction.py --dataset=acdc
    python scripts/N4_bias_correction.py --input=FOLDER --output=FOLDER

With --dataset the corrected images go to a sibling of the dataset's folder (acdc -> acdc_n4) in the same layout, with
labels and Info.cfg copied; train on them with --set data_path_tr=acdc_n4. With --input every .nii and .nii.gz below
the folder is corrected. Header, voxel size and affine stay. Settings as published (threshold 0.001, 4 levels of 50
iterations), except that the field is estimated on every 4th voxel: about 20 s instead of some minutes per cardiac
volume and core. --shrink_factor=1 is the published way. Repeating the command resumes an interrupted one.

Paper: N. Tustison et al., IEEE TMI 29(6), 2010, https://doi.org/10.1109/TMI.2010.2046908
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from fewslice.core import app
from fewslice.core.errors import ConfigError
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import OnDataset

define(OnDataset, "dataset", "set", "data_root")
flags.DEFINE_string("input", None, "Folder of images to correct, instead of --dataset.")
flags.DEFINE_string("output", None, "Folder for the corrected images. Default with --dataset: <its folder>_n4.")
flags.DEFINE_integer("shrink_factor", 4, "Estimate the field on every n-th voxel; 1 as published.", lower_bound=1)
flags.DEFINE_integer("workers", None, "Files corrected at a time. Default: the number of cores.", lower_bound=1)
FLAGS = flags.FLAGS


def main(_) -> None:
    if FLAGS.input and (FLAGS["dataset"].present or not FLAGS.output):
        raise ConfigError("Give --input with --output and without --dataset, or --dataset alone.")
    dataset = None if FLAGS.input else read(OnDataset).load_dataset()
    from fewslice.data.io import n4
    from fewslice.data.readers import get_reader

    if dataset is None:
        output = Path(FLAGS.output)
        jobs = n4.folder_jobs(Path(FLAGS.input), output, shrink_factor=FLAGS.shrink_factor)
    else:
        reader = get_reader(dataset)
        output = Path(FLAGS.output or f"{reader.folder}_n4")
        jobs = n4.dataset_jobs(reader, output, shrink_factor=FLAGS.shrink_factor)
    report = n4.correct_files(jobs, output, workers=FLAGS.workers)
    print(report.describe())
    if report.refused:
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
