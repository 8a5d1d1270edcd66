"""Pretrains the encoder of the U-Net on unlabelled volumes with the global contrastive loss.

The loss pulls together slices of the same anatomical region and pushes apart slices of other regions.
Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.1.

  python pretr_encoder_global_contrastive_loss.py --dataset=acdc
  python pretr_encoder_global_contrastive_loss.py --dataset=acdc --global_loss_exp_no=1 --n_iter=2001

Input   images (no labels) of the patients of --no_of_tr_imgs, by default the dataset's `unlabeled_split`.
Output  runs/<dataset>/pretr_encoder_global_contrastive_loss/<method>-<digest>/ with checkpoints/last.npz and
        logs/train.csv. Later stages find it by its flags.
Measured on one core of an AMD EPYC (Zen 4): acdc_h5, 30 volumes, --bt_size=10, 1500 steps, --mixed_precision; at 96 x
        96 pixels 5 CPU minutes, 1.0 GiB, loss 6.87 (random) to 0.50 and 0.36; at 192 x 192 20 minutes. docs/results.md
More    docs/global_pretraining.md, docs/runs.md
"""

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import GlobalPretraining
from fewslice.stages import run

define(GlobalPretraining)


def main(_argv) -> None:
    run(*read(GlobalPretraining))


if __name__ == "__main__":
    app.run(main)
