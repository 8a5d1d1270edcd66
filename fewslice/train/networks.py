"""The networks of finished runs, with their weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

import models
from fewslice.core import checkpoint
from fewslice.core.errors import ConfigError
from fewslice.data.cache import PreparedVolume
from fewslice.data.volume import label_from_grid, with_channel_axis
from fewslice.settings.datasets import DatasetConfig
from fewslice.settings.group_contrastive import ENCODERS
from fewslice.train.encoder_runs import RESNET, EncoderRun
from fewslice.train.predict import predictor
from fewslice.train.setup import image_shape


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
        whole = models.build_encoder(shape)
        model = keras.Model(whole.inputs[0], keras.layers.GlobalAveragePooling2D()(whole.outputs[-1]))
    _read_weights(whole, run, "Embeddings by", "this encoder")
    return model


def segmentation_network(run: EncoderRun, dataset: DatasetConfig) -> keras.Model:
    """Returns the U-Net of a run, image -> logits.

    Raises:
        ConfigError: the run's weights are not those of a U-Net.
        DataError: the weight file is damaged.
    """
    model = models.build_unet(image_shape(dataset), dataset.num_classes)
    _read_weights(model, run, "Segmentation network:", "a U-Net")
    return model


def native_predictor(run: EncoderRun, dataset: DatasetConfig) -> Callable[[PreparedVolume], np.ndarray]:
    """Returns a function prepared volume -> predicted labels (X, Y, Z) uint8 on the grid of its file."""
    predict = predictor(segmentation_network(run, dataset), dataset.mtask_bs)

    def labels(volume: PreparedVolume) -> np.ndarray:
        probabilities = predict(with_channel_axis(volume.image))
        return label_from_grid(probabilities, volume.native_shape, volume.spacing_mm, dataset)

    return labels


def _read_weights(model: keras.Model, run: EncoderRun, use: str, kind: str) -> None:
    weights, record, _ = checkpoint.load_weights(run.weights)
    fill(model, weights, path=run.weights, kind=kind)
    logging.info("%s %s (step %s).", use, os.path.relpath(run.weights), record.get("step", "unknown"))


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
