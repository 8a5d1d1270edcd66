"""Fine-tunes the U-Net on a few labelled volumes, from a pretrained encoder, and evaluates it.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, section 4.

  python ft_pretr_encoder_net_global_loss.py --dataset=acdc --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
  python ft_pretr_encoder_net_global_loss.py --dataset=acdc --pretr_n_iter=5001 --n_iter=5001

Input   images and labels of the training, validation and test lists of the split, and the finished run of
        pretr_encoder_global_contrastive_loss.py that the flags name (or --init_from).
Output  runs/<dataset>/ft_pretr_encoder_net_global_loss/<method>-<digest>/ with checkpoints/best.npz, last.npz,
        logs/train.csv, and scores and predictions of the test volumes in eval/.
Measured on one core of an AMD EPYC (Zen 4): acdc_h5 tr1 c1, 1000 steps, --mixed_precision, --average_decay=0.98; at 96
        x 96 pixels 7 CPU minutes, 1.2 GiB, mean test Dice 0.718 over two seeds (baseline 0.665). docs/results.md
More    docs/fine_tuning.md, docs/evaluation.md, docs/runs.md
"""

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import EncoderFineTuning
from fewslice.stages import run

define(EncoderFineTuning)


def main(_argv) -> None:
    run(*read(EncoderFineTuning))


if __name__ == "__main__":
    app.run(main)
