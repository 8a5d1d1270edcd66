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
from fewslice.core.errors import DataError, FewSliceError, few
from fewslice.settings import dataset_files
from fewslice.settings.datasets import load_dataset_config
from fewslice.settings.flags import define
from fewslice.settings.stage_flags import OnDataset

define(OnDataset, "dataset", "data_root", "seed")
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
    from fewslice.data.readers import get_reader

    dataset = load_dataset_config(FLAGS.dataset, data_root=FLAGS.data_root)
    reader, found = get_reader(dataset), {}
    files = annotations.find_files(reader, annotations.painted_folders(Path(FLAGS["from"].value)))
    if dataset.ignore_label is None and (full := [case.case_id for case, _ in files if case.label_path is not None]):
        raise DataError(
            reader.folder,
            expected="scans without labels, or labels with a code for what is not annotated (`ignore_label`)",
            found=f"full labels of {few(full)}",
            remedy="Add the scans once more as a dataset of their own: add_dataset.py --images_only --name=...",
        )
    problems = []
    for number, (case, path) in enumerate(files, start=1):
        try:
            how = {"is_dense": annotations.is_dense(path.parent), "is_full": FLAGS.sparse_labels == "full"}
            painted, text = annotations.read_slices(reader, case, path, **how)
            found[path] = painted
        except DataError as error:
            problems.append(error)
            text = "PROBLEM"
        print(f"[{number}/{len(files)}] {path.name} (patient {case.patient_id}): {text}", flush=True)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise FewSliceError(f"{len(problems)} painted files cannot be used; nothing was written.\n{listed}")
    annotations.check_shows(list(found.values()), dataset.num_classes)
    how = {name: FLAGS[name].value for name in ("seed", "val", "test", "redraw", "dry_run")}
    for line in annotations.add(dataset, list(found.values()), dataset_files.experiments_folder(), **how):
        print(line, flush=True)


if __name__ == "__main__":
    app.run(main)
