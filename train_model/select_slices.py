r"""Chooses which slices of a dataset to annotate, without any label.

An encoder trained without labels maps every slice to an embedding; the strategy takes slices that represent the others.
Vepa et al., 2024, https://arxiv.org/abs/2411.15763 (mfc); further strategies: docs/active_learning.md.

  python select_slices.py --dataset=acdc --encoder=../runs/acdc/pretr_encoder_group_contrastive_loss/<run> --budget=5%
  python select_slices.py --dataset=acdc --encoder=... --strategy=typiclust --budget=20
  python select_slices.py --dataset=acdc --encoder=... --labelled=query.csv --budget=20        # the next 20
  python select_slices.py --dataset=acdc --strategy=random --budget=5%                         # for comparison

Input   images (no labels) of the patients of --split, by default the dataset's `unlabeled_split`.
Output  runs/<dataset>/select_slices/<strategy>-<digest>/ with query.csv (the slices in order), selection.json,
        gallery.png (the slices), embedding_map.png (their place in the pool), to_annotate/ (what a person paints).
Measured on one CPU core: acdc_h5, 308 slices of 96 x 96 pixels, ResNet-18, mfc, 5%: 11 s of CPU, import included.
More    docs/select_slices.md, docs/annotate.md
"""

from fewslice.core import app
from fewslice.settings.al_flags import SelectArgs
from fewslice.settings.flags import define, read

define(SelectArgs)


def main(_argv) -> None:
    args, dataset = read(SelectArgs)
    from fewslice.stages.select_slices import select_slices

    select_slices(args, dataset)


if __name__ == "__main__":
    app.run(main)
