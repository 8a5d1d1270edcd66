"""Draws the lists of a dataset whose files say which images are its official test: data_cfg_<name>.py.

GlaS, of the images that are there: 20 % of the training images validate, with the same share of each grade.
  python scripts/create_splits.py --dataset=glas --force
As published, without regard to grades:
  python scripts/create_splits.py --dataset=glas --published --output_dir=my_experiments

Images are found by name. A seed gives the same lists everywhere.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from fewslice.core import app
from fewslice.core.errors import ConfigError, few
from fewslice.core.files import write_text
from fewslice.settings import dataset_files
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import OnDataset

define(OnDataset, "dataset", "set", "data_root", "seed")
flags.DEFINE_string("label", "grade", "Fact of an image of which each list gets its share.")
flags.DEFINE_bool("published", False, "Draw without regard to the label, as the published script does.")
flags.DEFINE_float("val", 0.2, "Share of the training images that validate.", lower_bound=0.0, upper_bound=0.9)
flags.DEFINE_string("output_dir", None, "Folder for the dataset's two files. Default: experiment_init/.")
flags.DEFINE_bool("force", False, "Overwrite existing lists.")
FLAGS = flags.FLAGS


def main(_argv):
    dataset = read(OnDataset).load_dataset()
    from fewslice.data.new_dataset import files
    from fewslice.data.readers import get_reader, patients

    reader = get_reader(dataset)
    label_of = files.facts_of(reader, FLAGS.label)
    splits = files.draw(reader, None if FLAGS.published else label_of, share=FLAGS.val, seed=FLAGS.seed)
    drawn = {"train": splits.train["trall"]["*"], "val": splits.val["trall"]["*"], "test": splits.test}
    for role, names in drawn.items():
        found = [label_of[name] for name in names]
        print(f"{role}: {len(names)} ({', '.join(f'{found.count(each)} {each}' for each in sorted(set(found)))})")
    if unmasked := [case.case_id for case in reader.cases() if case.label_path is None]:
        print(f"Note: no mask of {few(unmasked)}; they neither train with labels, nor validate or test.")
    for note in patients.notes(get_reader(dataclasses.replace(dataset, splits=splits)), drawn["train"], drawn["val"]):
        print(f"Note: {note}")
    home = dataset_files.experiments_folder()
    folder, text = Path(FLAGS.output_dir or home), files.splits_text(dataset.name, splits, FLAGS.seed)
    settings, target = folder / f"init_{dataset.name}.py", folder / f"data_cfg_{dataset.name}.py"
    if target.exists() and target.read_text(encoding="utf-8") != text and not FLAGS.force:
        raise ConfigError(f"{target} exists, with other lists. Say --force to overwrite it, or choose --output_dir.")
    if not settings.exists():
        write_text(settings, (home / settings.name).read_text(encoding="utf-8"))
    write_text(target, text)
    print(f"Wrote {target}")
    if folder.resolve() != home.resolve():
        print(f"Set FEWSLICE_EXPERIMENTS={folder.resolve()}, so that scripts read it, and {settings.name} beside it.")


if __name__ == "__main__":
    app.run(main)
