"""Adds your own scans as a dataset: checks every file, then writes init_<name>.py and data_cfg_<name>.py.

A folder of images and one of labels with the same file names (an image may be called <label>_0000.nii.gz):
  python scripts/add_dataset.py --name=liver --images=scans/images --labels=scans/labels
Scans are .nii.gz, .nii, .nrrd, .mha, .mhd, or a folder for each DICOM series; labels .seg.nrrd of 3D Slicer too.
Pictures (.png, .bmp, .tif, .jpg) in grey or colours, with masks of the same names: 0 and 255, or 0, 1, 2, ...
A raw folder of the Medical Segmentation Decathlon or nnU-Net, or a folder of patient folders as in ACDC:
  python scripts/add_dataset.py --name=hippocampus --images=Task04_Hippocampus
Images only, to pretrain on and to choose slices from (docs/select_slices.md):
  python scripts/add_dataset.py --name=liver --images=scans/images --images_only

Images without a label are used for pretraining. Training, validation and test lists are made by patient, with
a seed. Nothing is written if a file has a problem.
"""

from __future__ import annotations

import dataclasses
import difflib
import tempfile
from pathlib import Path

from absl import flags

from fewslice.core import app
from fewslice.core.errors import ConfigError, FewSliceError, plural
from fewslice.core.files import atomic_path, write_text
from fewslice.settings import dataset_files
from fewslice.settings.datasets import load_dataset_config
from fewslice.settings.flags import define
from fewslice.settings.stage_flags import OnDataset

define(OnDataset, "data_root", "seed")
flags.DEFINE_string("name", None, "Name of the new dataset, for --dataset.", required=True)
flags.DEFINE_string("images", None, "Folder of images, or a raw folder with images and labels.", required=True)
flags.DEFINE_string("labels", None, "Folder of labels; not for raw folders.")
flags.DEFINE_bool("images_only", False, "There are no labels (or none that shall count).")
flags.DEFINE_integer("num_classes", None, "Classes with the background. Default: as found.", lower_bound=2)
flags.DEFINE_list("struct_names", [], "Names of the structures without the background, separated by commas.")
flags.DEFINE_string("label_map", "", "code:class pairs if the labels are not 0, 1, 2, ...: 205:1,420:2")
flags.DEFINE_string(
    "patient_pattern",
    "",
    "Regular expression for file names without ending; its first group is the patient. Default: sub-01 of "
    "sub-01_ses-02, else the name without endings such as _frame01, _t3 and _ED; other names that may be visits are "
    "asked about.",
)
flags.DEFINE_integer("image_channel", 0, "Channel of 4-D images, or of files _0000, ...", lower_bound=0)
flags.DEFINE_integer("ignore_label", None, "Code in the labels that means not annotated, such as 255, if any has.")
flags.DEFINE_enum(
    "sparse_labels",
    None,
    ["partial", "full"],
    "Labels that look painted in few slices: partial: the other slices are not annotated; full: they are background. "
    "Default: you are asked.",
)
flags.DEFINE_integer("val", None, "Number of validation patients. Default: 2.", lower_bound=1)
flags.DEFINE_integer("test", None, "Number of test patients. Default: a fifth.", lower_bound=0)
flags.DEFINE_string("output_dir", None, "Folder for the two files. Default: experiment_init/.")
flags.DEFINE_bool("force", False, "Overwrite existing files; who trains, validates or tests goes on to do so.")
flags.DEFINE_bool("redraw", False, "With --force: draw new lists.")
flags.DEFINE_bool("dry_run", False, "Check and show, but write nothing.")
FLAGS = flags.FLAGS
DEFAULT_BATCH = 6  # volumes in a batch of global pretraining unless flags say otherwise


def main(_argv):
    from fewslice.data.geometry_notes import best_orientation
    from fewslice.data.new_dataset import annotations, crop, derive, files

    folder = Path(FLAGS.output_dir or dataset_files.experiments_folder())
    targets = folder / f"init_{FLAGS.name}.py", folder / f"data_cfg_{FLAGS.name}.py"
    request = derive.Request(
        FLAGS.name,
        Path(FLAGS.images),
        labels=Path(FLAGS.labels) if FLAGS.labels else None,
        num_classes=FLAGS.num_classes,
        struct_names=tuple(FLAGS.struct_names),
        label_map=FLAGS.label_map,
        patient_pattern=FLAGS.patient_pattern,
        image_channel=FLAGS.image_channel,
        ignore_label=FLAGS.ignore_label,
        images_only=FLAGS.images_only,
        **({"data_root": Path(FLAGS.data_root)} if FLAGS.data_root else {}),
    )
    draft = derive.provisional(request)
    checked = check(derive.check_files(draft, with_labels=not FLAGS.images_only))
    if best_orientation([item.lie for item in checked]) != draft.orientation:
        print('Oblique scans, all stored alike: orientation = "as_stored". Sizes are measured once more.')
        draft = dataclasses.replace(draft, orientation="as_stored")
        checked = check(derive.check_files(draft, with_labels=not FLAGS.images_only))
    dataset = derive.derive(draft, checked, with_labels=not FLAGS.images_only)
    sparse = [(item.case.case_id, item.sparse, item.shape[2]) for item in checked if item.sparse]
    if sparse and FLAGS.sparse_labels is None:
        raise ConfigError(annotations.sparse_question(sparse))
    labelled, unlabelled, official = derive.patients(dataset, checked)
    masks, partial = dataset, set()
    if is_partial := bool(sparse) and FLAGS.sparse_labels == "partial":
        dataset = derive.without_labels(request, dataset)
        labelled, unlabelled, official = [], sorted({item.case.patient_id for item in checked}), []
        partial = {item.case.patient_id for item in checked if item.classes is not None}
    tables = split(labelled, unlabelled, official, targets)
    others = plural(len(unlabelled) - len(partial), "other patient")
    kind = f"{len(partial)} partially labelled" if is_partial else f"{len(labelled)} labelled"
    facts = f"{plural(len(checked), 'volume')} of {kind} and {others}"
    print(f"Good: {facts}. {files.summary(dataset, tables)}")
    for note in derive.notes(dataset, checked, tables, official):
        print(f"Note: {note}.")
    if labelled:
        print(crop.crop_text(dataset, derive.footprints(checked)))
    listed = set(tables.train["unlabeled"]["*"])
    count = sum(case.case.patient_id in listed for case in checked)
    if count < DEFAULT_BATCH:
        print(f"Volumes to pretrain on: {count}. The default batch needs {DEFAULT_BATCH}: use --bt_size=4 (2 volumes).")
    splits = files.splits_text(FLAGS.name, tables, FLAGS.seed)
    write(targets, (files.init_text(dataset, facts, has_labels=bool(labelled)), splits))
    if is_partial and not FLAGS.dry_run:
        dataset = load_dataset_config(FLAGS.name, folder=folder, data_root=request.data_root)
        found = derive.painted_slices(masks, [item.case for item in checked if item.classes is not None])
        counts = {"seed": FLAGS.seed, "val": FLAGS.val, "test": FLAGS.test}
        for line in annotations.add(dataset, list(found), folder, **counts):
            print(line, flush=True)


def split(labelled, unlabelled, official, targets: tuple[Path, Path]):
    """Returns the lists: new ones, or those that are there with the patients that are new."""
    from fewslice.data.new_dataset import files

    counts = {"seed": FLAGS.seed, "val": FLAGS.val, "test": FLAGS.test}
    old = None
    if FLAGS.force and not (FLAGS.redraw or official) and all(path.exists() for path in targets):
        old = load_dataset_config(FLAGS.name, folder=targets[0].parent, data_root=FLAGS.data_root).splits
        old = files.still_there(old, [*labelled, *unlabelled])
    if old is None or not old.labelled_keys():
        return files.split_patients(labelled, unlabelled, official=official, **counts)
    print(f"The lists of {FLAGS.name} are kept: new patients are added to them (--redraw draws new ones).")
    counts["test"] = max(len(old.test), round(len(labelled) / 5)) if FLAGS.test is None else FLAGS.test
    return files.extend_patients(old, labelled, unlabelled, is_partial=FLAGS.images_only, **counts)


def check(results) -> list:
    """Shows the progress and returns what was found; raises one message with the problems of all files."""
    checked, problems = [], []
    for done, total, case, found in results:
        (problems if isinstance(found, list) else checked).append(found)
        if isinstance(found, list) or done % max(1, total // 20) == 0 or done == total:
            verdict = "PROBLEM" if isinstance(found, list) else "ok"
            print(f"[{done}/{total}] {case.case_id} (patient {case.patient_id}): {verdict}", flush=True)
    if problems:
        listed = "\n".join(f"- {problem}" for found in problems for problem in found)
        raise FewSliceError(f"{plural(len(problems), 'volume')} with problems; nothing was written.\n{listed}")
    return checked


def write(targets: tuple[Path, Path], texts: tuple[str, str]) -> None:
    """Loads the two texts as a dataset to check them, then writes them, or shows them for --dry_run.

    The dataset is there with its init file, which comes last: after a kill the same command finishes the pair.
    """
    from fewslice.data.new_dataset.files import next_steps

    with tempfile.TemporaryDirectory() as temporary:
        for path, text in zip(targets, texts, strict=True):
            write_text(Path(temporary) / path.name, text)
        load_dataset_config(FLAGS.name, folder=Path(temporary))
    pairs = [*zip(targets, texts, strict=True)]
    others = [str(path) for path, text in pairs if path.exists() and path.read_bytes() != text.encode("utf-8")]
    if others and not (FLAGS.force or FLAGS.dry_run):
        names = " and ".join(others)
        raise ConfigError(f"{names} exist already, with other content. Choose another --name, or --force to overwrite.")
    for path, text in pairs:
        if str(path) in others:  # an encoder or a training fits the settings that it was made with
            before = path.read_text(encoding="utf-8")
            kept = "" if FLAGS.dry_run else f" (as it was: {path.with_suffix('.before.txt').name})"
            changed = [line for line in difflib.ndiff(before.splitlines(), text.splitlines()) if line[0] in "+-"]
            print("\n  ".join([f"Changes in {path.name}{kept}:", *changed[:20], *["..."] * (len(changed) > 20)]))
            if not FLAGS.dry_run:
                write_text(path.with_suffix(".before.txt"), before)
    if not FLAGS.dry_run:  # both beside their places, which are moved then: a full disk changes nothing
        with atomic_path(targets[0]) as new_settings, atomic_path(targets[1]) as new_lists:
            new_lists.write_text(texts[1], encoding="utf-8")
            new_settings.write_text(texts[0], encoding="utf-8")
            targets[0].unlink(missing_ok=True)  # never the settings of one dataset with the lists of another
    for path, text in pairs:
        print(f"Would write {path}:\n{text}" if FLAGS.dry_run else f"Wrote {path}")
    print(next_steps(FLAGS.name, images_only=FLAGS.images_only))


if __name__ == "__main__":
    app.run(main)
