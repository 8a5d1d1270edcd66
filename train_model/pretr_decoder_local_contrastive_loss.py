"""DOC

python pretr_decoder_local_contrastive_loss.py --dataset=acdc
"""

from absl import flags

from fewslice import app
from fewslice.flags import define_stage, read_flags

STAGE = "pretr_decoder_local_contrastive_loss"
define_stage(STAGE)
FLAGS = flags.FLAGS


def main(_argv) -> None:
    args, dataset = read_flags(STAGE)
    from fewslice.stages import contrastive  # Keras takes seconds to import: flags are checked before

    contrastive.pretrain_decoder(args, dataset)


if __name__ == "__main__":
    app.run(main)
