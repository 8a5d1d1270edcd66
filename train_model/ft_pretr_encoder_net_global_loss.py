"""DOC

python ft_pretr_encoder_net_global_loss.py --dataset=acdc
"""

from absl import flags

from fewslice import app
from fewslice.flags import define_stage, read_flags

STAGE = "ft_pretr_encoder_net_global_loss"
define_stage(STAGE)
FLAGS = flags.FLAGS


def main(_argv) -> None:
    args, dataset = read_flags(STAGE)
    from fewslice.stages import segmentation  # Keras takes seconds to import: flags are checked before

    segmentation.fine_tune_encoder(args, dataset)


if __name__ == "__main__":
    app.run(main)
