"""Makes painted slices the labels of a dataset: partial labels beside its scans, and lists that train on them.

What was painted for a selection, a round or a whole experiment, or any folder of files <volume>_annotation or <volume>:
  python scripts/add_annotations.py --dataset=liver --from=runs/liver/select_slices/mfc-0123456789

Nothing is learned or scored in what nobody painted. Repeat it with every new folder: labels add up, and the lists of
patients only grow, so that nobody moves between training, validation and test (`--redraw` makes new lists).
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from fewslice.core import app
from fewslice.core.errors import DataError
from fewslice.settings import dataset_files
from fewslice.settings.al_flags import AlArgs
from fewslice.settings.datasets import load_dataset_config
from fewslice.settings.flags import define
from fewslice.settings.stage_flags import OnDataset

define(OnDataset, "dataset", "data_root", "seed")
define(AlArgs, "accept")
flags.DEFINE_string("from", None, "Folder of a selection, a round, an experiment, or of painted files.", required=True)
flags.DEFINE_enum(
    "sparse_labels",
    "partial",
    ["partial", "full"],
    "Slices that show no structure, in masks without a value for what is not annotated: partial: not annotated; full: "
    "background.",
)
flags.DEFINE_integer("val", None, "Validation patients. Default: a fifth; none of fewer than 5.")
flags.DEFINE_integer("test", None, "Test patients. Default: as before, at first none.", lower_bound=0)
flags.DEFINE_bool("redraw", False, "Draw new lists of all patients instead of adding to those that are there.")
flags.DEFINE_bool("dry_run", False, "Check and show, but write nothing.")
FLAGS = flags.FLAGS


def main(_argv):
    from fewslice.data.new_dataset import annotations
    from fewslice.stages.annotations import read_painted_files

    dataset, found = load_dataset_config(FLAGS.dataset, data_root=FLAGS.data_root), []
    how = {"accept": FLAGS.accept, "is_full": FLAGS.sparse_labels == "full"}
    for painted in read_painted_files(dataset, Path(FLAGS["from"].value), **how):
        case = painted.volume.case
        if dataset.ignore_label is None and case.label_path is not None:
            raise DataError(
                case.label_path,
                expected="no label, or labels with a code for what is not annotated (`ignore_label`)",
                found="a full label",
                remedy="Add the scans once more as a dataset of their own: add_dataset.py --images_only --name=...",
            )
        print(f"{case.case_id} (patient {case.patient_id}): {painted.describe()}", flush=True)
        found.append(painted)
    annotations.check_shows(found, dataset.num_classes, is_accepted="empty" in FLAGS.accept)
    how = {name: FLAGS[name].value for name in ("seed", "val", "test", "redraw", "dry_run")}
    for line in annotations.add(dataset, found, dataset_files.experiments_folder(), **how):
        print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
