r"""Pretrains a ResNet on unlabelled slices with the group contrastive loss (GCL).

The loss pulls together two views of a slice, slices of one volume and slices of one patient, and pushes apart slices of
other patients. Its embeddings measure the similarity of slices. Vepa et al., 2024, https://arxiv.org/abs/2411.15763.

  python pretr_encoder_group_contrastive_loss.py --dataset=acdc
  python pretr_encoder_group_contrastive_loss.py --dataset=acdc --use_phase=0 --use_patient=0 \
      --pos_loss1_wt=0 --pos_loss2_wt=0                                                         # SimCLR

Input   images (no labels) of the patients of --no_of_tr_imgs, by default the dataset's `unlabeled_split`.
Output  runs/<dataset>/pretr_encoder_group_contrastive_loss/<method>-<digest>/ with checkpoints/last.npz and
        logs/train.csv.
Measured on one CPU core: acdc_h5, 192 x 192 pixels, --batch_size=9: 1.7 s per step, 0.9 s with --mixed_precision.
More    docs/group_pretraining.md, docs/runs.md
"""

from fewslice.core import app
from fewslice.settings.flags import define, read
from fewslice.settings.stage_flags import GroupPretraining
from fewslice.stages import run

define(GroupPretraining)


def main(_argv) -> None:
    run(*read(GroupPretraining))


if __name__ == "__main__":
    app.run(main)
