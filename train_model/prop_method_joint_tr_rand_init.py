"""Trains segmentation and pixel embeddings together, on labelled volumes and on pseudo-labelled ones.

Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3. Starts from the encoder and decoder of the
baseline, which also makes the first pseudo-labels; every `--refresh_every` steps the best network makes new ones.

  python tr_baseline.py --dataset=acdc --no_of_tr_imgs=tr2 --comb_tr_imgs=c1 --n_iter=5001
  python prop_method_joint_tr_rand_init.py --dataset=acdc --no_of_tr_imgs=tr2 --comb_tr_imgs=c1
  bash pseudo_lbl_rand_init.sh tr2 c1 acdc                  both of them

Reads   checkpoints/best.npz of tr_baseline.py; images and labels of the training, validation and test lists; images of
        the dataset's unlabelled list.
Writes  runs/<dataset>/prop_method_joint_tr_rand_init/<method>-<digest>/ as the other labelled stages, and
        pseudo_labels/round_00, ... with labels, statistics and a gallery; logs/pseudo_labels.csv.
More    docs/joint_training.md, docs/evaluation.md, docs/runs.md
"""

from fewslice import app
from fewslice.flags import define_stage, read_flags
from fewslice.stages import run_stage

STAGE = "prop_method_joint_tr_rand_init"
define_stage(STAGE)


def main(_argv) -> None:
    run_stage(*read_flags(STAGE))


if __name__ == "__main__":
    app.run(main)
