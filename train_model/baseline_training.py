r"""Trains the network of active.py on all annotated images at once: what choosing images is measured against.

  python baseline_training.py
  python baseline_training.py with epochs=60 batch_size=16

Output  runs/<dataset>/run_al_exp/baseline_training-<digest>/; mean test Dice of a single dropout pass and of 20.
More    docs/histology.md
"""

from absl import logging

from fewslice.core import app
from fewslice.settings.compat.albaselines import FullSupervision, flags_of
from fewslice.settings.flags import define, read

define(FullSupervision)


def main(_argv) -> None:
    args = read(FullSupervision)
    from fewslice.stages.active import prepare, run_and_report
    from fewslice.stages.histology import dice_of_passes

    job = prepare(args.experiment, args.overrides, data_root=args.data_root)
    logging.info("%s", job.describe())
    if not args.check_only:
        folder = run_and_report(job, runs_dir=args.runs_dir, resume=args.resume)
        for passes in (1, 20):
            dice = dice_of_passes(job, folder, passes)
            print(f"Mean test Dice, {passes} dropout pass{'es' * (passes > 1)}: {dice:.4f}")


if __name__ == "__main__":
    app.run(main, flags_of=lambda words: flags_of(words, FullSupervision))
