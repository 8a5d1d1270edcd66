"""Prepares the volumes of a dataset for training: normalises intensities, resamples, crops or pads.

Command:
    python scripts/create_cropped_imgs.py --dataset=acdc [--split=all] [--workers=4] [--write_nifti]

The prepared volumes go to <data root>/<data_path_tr_cropped>/<digest of the settings>/, where training finds them
(training prepares what is missing by itself; this script does it beforehand and for all volumes). Repeating the
command resumes an interrupted one; what is up to date is skipped, what changed is made again. With --write_nifti
each volume is also written as <data_path_tr_cropped>/<volume>/img_cropped.nii.gz and mask_cropped.nii.gz. Volumes
with faulty files are refused and listed at the end; the exit status is then 1.
"""

from __future__ import annotations

import sys

from absl import flags

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import OnDataset

define(OnDataset, "dataset", "set", "data_root")
flags.DEFINE_list("split", ["all"], "all, or the patients to prepare, separated by commas: 001,002")
flags.DEFINE_integer("workers", None, "Volumes prepared at a time. Default: the number of cores.", lower_bound=1)
flags.DEFINE_bool("verify", False, "Compare checksums of all files, not only sizes and times.")
flags.DEFINE_bool("write_nifti", False, "Also write img_cropped.nii.gz and mask_cropped.nii.gz.")
flags.DEFINE_enum(
    "affine",
    "corrected",
    ["corrected", "published"],
    "Affine of the written files. corrected: voxels lie where they lie in the native file. published: as the original "
    "script wrote it, only the in-plane voxel size replaced.",
)
FLAGS = flags.FLAGS


def main(_) -> None:
    dataset = read(OnDataset).load_dataset()
    from fewslice.data.export import prepare_dataset
    from fewslice.data.readers import get_reader

    report = prepare_dataset(
        get_reader(dataset),
        patients=FLAGS.split,
        affine=FLAGS.affine if FLAGS.write_nifti else None,
        workers=FLAGS.workers,
        verify=FLAGS.verify,
    )
    print(report.describe())
    if report.refused:
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
