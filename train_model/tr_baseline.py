"""DOC

python tr_baseline.py --dataset=acdc
"""

from absl import flags

from fewslice import app
from fewslice.flags import define_stage, read_flags

STAGE = "tr_baseline"
define_stage(STAGE)
FLAGS = flags.FLAGS


def main(_argv) -> None:
    args, dataset = read_flags(STAGE)
    from fewslice.stages import segmentation  # Keras takes seconds to import: flags are checked before

    segmentation.train_baseline(args, dataset)


if __name__ == "__main__":
    app.run(main)
