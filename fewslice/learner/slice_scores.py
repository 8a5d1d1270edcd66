"""What a trained segmentation network says about the slices of a pool: how unsure it is, and its gradients."""

from __future__ import annotations

import os

import keras
import numpy as np
from absl import logging

import models
from fewslice.active.slices import SliceStack
from fewslice.core import checkpoint
from fewslice.core.errors import ConfigError
from fewslice.learner.scores import pool_scores
from fewslice.settings.datasets import DatasetConfig
from fewslice.train.encoder_runs import EncoderRun
from fewslice.train.setup import image_shape


def score_slices(network: keras.Model, slices: SliceStack, *, score: str, batch_size: int) -> np.ndarray:
    """Returns the (N,) float64 scores of all slices, means over pixels; larger is more uncertain.

    Args:
        network: Of `segmentation_network`.
        slices: Their images.
        score: A registered uncertainty.
        batch_size: Slices at a time.
    """
    return pool_scores([network], slices, [score], batch_size=batch_size)[score]


def segmentation_network(run: EncoderRun, dataset: DatasetConfig) -> keras.Model:
    """Returns the U-Net of a run, image -> logits.

    Raises:
        ConfigError: the run's weights are not those of a U-Net.
        DataError: the weight file is damaged.
    """
    weights, record = checkpoint.load_arrays(run.weights)
    model = models.build_unet(image_shape(dataset), dataset.num_classes)
    report = models.copy_by_name(model, weights)
    if report.missing or report.mismatched:
        raise ConfigError(f"The weights of {run.weights} are not those of a U-Net: {report.summary()}")
    logging.info("Segmentation network: %s (step %s).", os.path.relpath(run.weights), record.get("step", "unknown"))
    return model
