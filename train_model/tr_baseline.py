"""Trains the U-Net on a few labelled volumes from random weights and evaluates it: the reference for pretraining.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4 (random initialisation).

  python tr_baseline.py --dataset=acdc --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
  python tr_baseline.py --dataset=acdc --no_of_tr_imgs=trall

Input   images and labels of the training, validation and test lists of the split.
Output  runs/<dataset>/tr_baseline/<method>-<digest>/ with checkpoints/best.npz, last.npz, logs/train.csv, and scores
        and predictions of the test volumes in eval/.
Measured on one core of an AMD EPYC (Zen 4): acdc_h5 tr1 c1, 1000 steps, --mixed_precision, --average_decay=0.98; at 96
        x 96 pixels 7 CPU minutes, 1.2 GiB, mean test Dice 0.665 over two seeds; full size 25 minutes. docs/results.md
More    docs/baseline.md, docs/evaluation.md, docs/runs.md
"""

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import Baseline
from fewslice.stages import run

define(Baseline)


def main(_argv) -> None:
    run(*read(Baseline))


if __name__ == "__main__":
    app.run(main)
