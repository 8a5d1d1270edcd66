"""Pretrains decoder blocks on unlabelled volumes with the local contrastive loss; the encoder is frozen.

The loss pulls together the same region in two views of a slice and pushes apart the regions around it.
Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 3.2.

  python pretr_decoder_local_contrastive_loss.py --dataset=acdc
  python pretr_decoder_local_contrastive_loss.py --dataset=acdc --n_iter=2001 --pretr_n_iter=5001

Input   images (no labels) of the patients of --no_of_tr_imgs, and the finished run of
        pretr_encoder_global_contrastive_loss.py that the flags name (or --init_from).
Output  runs/<dataset>/pretr_decoder_local_contrastive_loss/<method>-<digest>/ with checkpoints/last.npz
        (encoder, decoder blocks, projection head) and logs/train.csv.
Measured on one core of an AMD EPYC (Zen 4), acdc_h5, 30 volumes, 300 steps, --mixed_precision: at 96 x 96 pixels 1
        CPU minute, 0.9 GiB, loss 4.80 (random) to below 0.001. docs/results.md
More    docs/local_pretraining.md, docs/runs.md
"""

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import LocalPretraining
from fewslice.stages import run

define(LocalPretraining)


def main(_argv) -> None:
    run(*read(LocalPretraining))


if __name__ == "__main__":
    app.run(main)
