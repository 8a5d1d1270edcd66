"""Trains on labelled and unlabelled volumes together, from a baseline trained on the labelled ones.

--method=contrastive (default): segmentation, and pixel embeddings on pseudo-labelled volumes too. The baseline makes
  the first pseudo-labels; every `--refresh_every` steps the best network makes new ones.
--method=unimatch: predictions on strongly augmented slices should equal those on weakly augmented ones.
--method=copy_paste: labelled and unlabelled slices are pasted into each other.
Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3; Yang et al., 2023,
https://arxiv.org/abs/2208.09910; Bai et al., 2023, https://arxiv.org/abs/2305.00673. The last two make their targets
within a step and have no rounds.

  python tr_baseline.py --dataset=acdc --no_of_tr_imgs=tr2 --comb_tr_imgs=c1 --n_iter=5001
  python prop_method_joint_tr_rand_init.py --dataset=acdc --no_of_tr_imgs=tr2 --comb_tr_imgs=c1
  bash pseudo_lbl_rand_init.sh tr2 c1 acdc                  both of them

Input   checkpoints/best.npz of tr_baseline.py; images and labels of the training, validation and test lists; images of
        the dataset's unlabelled list.
Output  runs/<dataset>/prop_method_joint_tr_rand_init/<method>-<digest>/ as in the other labelled stages; contrastive
        also pseudo_labels/round_00, ... with labels, statistics and a gallery, and logs/pseudo_labels.csv.
Measured on one core of an AMD EPYC (Zen 4): acdc_h5 tr2 c1 at 96 x 96 pixels, 500 steps of 10 labelled slices,
        --mixed_precision, mean test Dice of two seeds: baseline 0.571; contrastive 0.668 (6 CPU minutes, 1.7 GiB); from
        pretrained weights contrastive 0.733, unimatch 0.812 (9 CPU minutes). docs/results.md
More    docs/joint_training.md, docs/evaluation.md, docs/runs.md
"""

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages import run

define(JointTraining)


def main(_argv) -> None:
    run(*read(JointTraining))


if __name__ == "__main__":
    app.run(main)
