"""The networks of finished runs, with their weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from absl import logging

import models
from fewslice.core import checkpoint
from fewslice.core.errors import ConfigError
from fewslice.settings.datasets import DatasetConfig
from fewslice.settings.group_contrastive import ENCODERS
from fewslice.train.encoder_runs import RESNET, EncoderRun
from fewslice.train.setup import architecture, image_shape


def embedding_network(run: EncoderRun, dataset: DatasetConfig) -> keras.Model:
    """Returns the network image (batch, rows, columns, channels) -> embedding (batch, D) of a run.

    Raises:
        ConfigError: the weights are not those of such a network.
        DataError: the weight file is missing or damaged.
    """
    shape = image_shape(dataset)
    if run.kind == RESNET:
        sizes = {"depth": ENCODERS[run.config["encoder"]], "projection_size": run.config["projection_dim"]}
        whole = models.build_group_encoder(shape, **sizes)
        model = models.embedding_part(whole)
    else:
        whole = models.build_encoder(shape, arch=architecture(run.config))
        model = keras.Model(whole.inputs[0], keras.layers.GlobalAveragePooling2D()(whole.outputs[-1]))
    step = read_into(whole, run.weights, kind="this encoder")
    logging.info("Embeddings by %s (step %s).", os.path.relpath(run.weights), step)
    return model


def read_into(model: keras.Model, path: Path, *, kind: str) -> Any:
    """Gives a network the weights of a file, see `fill`, and returns their training step.

    Raises:
        ConfigError: the weights are not those of such a network.
        DataError: the file is missing, damaged or of another run.
    """
    weights, record, _ = checkpoint.load_weights(path)
    fill(model, weights, path=path, kind=kind)
    return record.get("step", "unknown")


def fill(model: keras.Model, weights: Mapping[str, Any], *, path: Path, kind: str) -> None:
    """Gives every weight of a network the value of that name; further values are left out.

    Args:
        path, kind: Where the weights come from and what `model` is, for the message.

    Raises:
        ConfigError: a weight is missing or has another shape.
    """
    report = models.copy_by_name(model, weights)
    if report.missing or report.mismatched:
        raise ConfigError(f"The weights of {path} are not those of {kind}: {report.summary()}")
