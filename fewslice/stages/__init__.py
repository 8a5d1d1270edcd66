"""The stages: from a script's flags to its finished run directory."""

from __future__ import annotations

import pkgutil

from fewslice.core import backend
from fewslice.settings import stage_flags as flags
from fewslice.settings.datasets import DatasetConfig

# Flags -> function of the stage; found by its name, since it imports Keras.
_FUNCTIONS = {
    flags.GlobalPretraining: "contrastive:pretrain_encoder",
    flags.LocalPretraining: "contrastive:pretrain_decoder",
    flags.GroupPretraining: "contrastive:pretrain_group_encoder",
    flags.Baseline: "segmentation:train_baseline",
    flags.EncoderFineTuning: "segmentation:fine_tune_encoder",
    flags.DecoderFineTuning: "segmentation:fine_tune_encoder_decoder",
    flags.JointTraining: "joint.stage:train_joint",
}


def run(args: flags.Training, dataset: DatasetConfig) -> None:
    """Runs the stage of these flags, or only checks them with `--check_only`.

    What can be refused without Keras is refused before Keras is imported, without the messages of its backend.

    Raises:
        ConfigError: flags that do not fit each other or the dataset, no upstream run, volumes that are not there.
    """
    from fewslice.stages import checks
    from fewslice.train import upstream

    checks.check(args, dataset)
    if args.check_only:
        return
    args = upstream.settled(args, dataset)  # with the length of the run that it starts from
    backend.load()
    pkgutil.resolve_name(f"fewslice.stages.{_FUNCTIONS[type(args)]}")(args, dataset)
