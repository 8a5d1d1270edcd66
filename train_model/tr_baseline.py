"""DOC

  python tr_baseline.py --dataset=acdc
"""

from fewslice import app
from fewslice.flags import define_stage, read_flags
from fewslice.stages import run_stage

STAGE = "tr_baseline"
define_stage(STAGE)


def main(_argv) -> None:
    run_stage(*read_flags(STAGE))


if __name__ == "__main__":
    app.run(main)
