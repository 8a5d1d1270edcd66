"""The stages: from a script's flags to its finished run directory."""

from __future__ import annotations

from typing import TypeVar

from fewslice.core import backend
from fewslice.settings.datasets import DatasetConfig
from fewslice.settings.stage_flags import Training

Flags = TypeVar("Flags", bound=Training)


def begin(args: Flags, dataset: DatasetConfig) -> tuple[Flags, DatasetConfig]:
    """Refuses what can be refused without Keras, then imports Keras without the messages of its backend.

    Returns:
        The arguments, for the function of the stage, with the length of the run that it starts from.

    Raises:
        ConfigError: flags that do not fit each other or the dataset, no upstream run, volumes that are not there.
    """
    from fewslice.stages import checks
    from fewslice.train import upstream

    checks.check(args, dataset)
    if not args.check_only:
        args = upstream.settled(args, dataset)
        backend.load()
    return args, dataset
