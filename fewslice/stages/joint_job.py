"""What every method of joint training is given, and what it returns."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from fewslice import config
from fewslice.run import Run
from fewslice.stages import common
from fewslice.stages.joint_pools import Volumes
from fewslice.training import Plan


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One run of joint training, before its network exists.

    Attributes:
        args: The flags.
        dataset: The dataset's settings.
        volumes: What is read.
        run: The run, started.
        teacher: The baseline.
        origin: Weights that encoder and decoder start from: the baseline's, or those of `--init_from`.
    """

    args: Any
    dataset: config.DatasetConfig
    volumes: Volumes
    run: Run
    teacher: common.Origin
    origin: common.Origin

    def start_weights(self, model: keras.Model, *, copy_head: bool) -> None:
        """Copies the weights to start from into `model`, by name; the segmentation head is the baseline's or stays.

        With `--init_from=none` all weights stay.
        """
        common.copy_origin(model, self.origin, exclude=("seg_", "cont_", "ema_"))
        if copy_head and self.origin.path is not None:
            head = {name: values for name, values in self.teacher.weights.items() if name.startswith("seg_")}
            common.copy_origin(
                model, dataclasses.replace(self.teacher, weights=head), exclude=("enc_", "dec_", "cont_", "ema_")
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What is trained.

    Attributes:
        model: The network with all its heads, compiled.
        network: The part that predicts, image -> logits.
        plan: How it is trained.
    """

    model: keras.Model
    network: keras.Model
    plan: Plan
