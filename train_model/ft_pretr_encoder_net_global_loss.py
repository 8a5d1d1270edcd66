"""DOC

  python ft_pretr_encoder_net_global_loss.py --dataset=acdc
"""

from fewslice import app
from fewslice.flags import define_stage, read_flags
from fewslice.stages import run_stage

STAGE = "ft_pretr_encoder_net_global_loss"
define_stage(STAGE)


def main(_argv) -> None:
    run_stage(*read_flags(STAGE))


if __name__ == "__main__":
    app.run(main)
