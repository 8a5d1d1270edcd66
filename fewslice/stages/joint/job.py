"""Input and output of every method of joint training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
from absl import logging

from fewslice.core.run import Run
from fewslice.settings import datasets
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages.joint.pools import Volumes
from fewslice.train import setup
from fewslice.train.trainer import Plan


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One run of joint training, before its network exists.

    Attributes:
        args: The flags.
        dataset: The dataset's settings.
        volumes: What is read.
        run: The run, started.
        teacher: The baseline; without a path where none is needed.
        origin: Weights that encoder and decoder start from: the baseline's, or those of `--init_from`.
    """

    args: JointTraining
    dataset: datasets.DatasetConfig
    volumes: Volumes
    run: Run
    teacher: setup.Origin
    origin: setup.Origin

    def start_weights(self, model: keras.Model, *, heads: Sequence[setup.Origin]) -> None:
        """Copies the weights to start from into `model`, by name. With `--init_from=none` all weights stay.

        Args:
            model: Its encoder and decoder get those of `origin`.
            heads: Its segmentation head gets that of the first of these that has one; if there is none, it stays.

        Raises:
            ConfigError: shapes differ, or nothing could be copied.
        """
        if self.origin.path is None:
            return
        setup.copy_origin(model, self.origin, exclude=("seg_", "cont_", "ema_", "teacher"))
        for source in heads:
            head = {name: values for name, values in source.weights.items() if name.startswith("seg_")}
            if head:
                source = dataclasses.replace(source, weights=head)
                setup.copy_origin(model, source, exclude=("enc_", "dec_", "cont_", "ema_", "teacher"))
                return
        if heads:
            logging.info("%s has no segmentation head; it starts from random weights.", self.origin.path)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A network ready to train, and its plan.

    Attributes:
        model: The network with all its heads, compiled.
        network: The part that predicts, image -> logits.
        plan: How it is trained.
    """

    model: keras.Model
    network: keras.Model
    plan: Plan
