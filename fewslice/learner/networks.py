"""The segmentation networks of an experiment of active learning: which one, how long, with which loss and optimizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras

import losses
import models
from fewslice.active.annotators import SCRIBBLE
from fewslice.active.loop import RoundPlan
from fewslice.core import checkpoint
from fewslice.settings import datasets
from fewslice.settings.compat.al_schema_model import PRETRAINABLE, PRETRAINED, ModelConfig
from fewslice.settings.group_contrastive import ENCODERS
from fewslice.train import setup
from fewslice.train.optimizers import CoupledAdam, CoupledSGD, cosine_wave, polynomial_decay
from fewslice.train.trainer import BEST, LAST

_BETWEEN_MEMBERS = 100_003  # seeds


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long a network is trained.

    Attributes:
        steps: Training steps.
        segment: Steps between two validations.
    """

    steps: int
    segment: int


def schedule_of(settings: ModelConfig, plan: RoundPlan, count: int) -> Schedule:
    """Returns the schedule of a round with `count` annotated slices.

    The U-Nets train for their share of `max_iterations`, the pretrained networks for epochs.
    """
    if settings.model_type in PRETRAINED:
        epoch = -(-count // settings.batch_size)
        return Schedule(settings.num_epochs * epoch, settings.val_epoch * epoch)
    steps = max(1, int(settings.max_iterations * plan.training_share))
    return Schedule(steps, min(settings.val_every, steps))


def member_seed(seed: int, member: int) -> int:
    """Returns the seed of a network of an ensemble. Experiments with neighbouring seeds share none of them."""
    return seed + member * _BETWEEN_MEMBERS


def is_two_branch(settings: ModelConfig) -> bool:
    """Whether the network has two decoders whose mixed answers teach both."""
    return settings.seg_model == "unet_cct"


def build_network(settings: ModelConfig, dataset: datasets.DatasetConfig, *, seed: int) -> keras.Model:
    """Returns the segmentation network of an experiment with its initial weights."""
    shape, classes = setup.image_shape(dataset), dataset.num_classes
    if settings.seg_model == PRETRAINABLE:
        return models.build_unet(shape, classes, seed=seed)
    if settings.model_type in PRETRAINED:
        return models.build_resnet_unet(shape, classes, depth=ENCODERS[settings.encoder_name], seed=seed)
    return models.build_scribble_unet(shape, classes, branches=2 if is_two_branch(settings) else 1, seed=seed)


def segmentation_part(model: keras.Model) -> keras.Model:
    """Returns the network image -> logits of the decoder that is evaluated, on the same weights."""
    return models.main_branch(model) if len(model.output_shape) == 5 else model


def load_network(settings: ModelConfig, dataset: datasets.DatasetConfig, path: Path) -> keras.Model:
    """Returns a member's network with the weights of its best validation.

    Raises:
        DataError: the weights are missing or damaged.
    """
    model = build_network(settings, dataset, seed=0)
    set_best(model, path)
    return model


def set_best(model: keras.Model, path: Path) -> None:
    """Gives a network the weights of a member's best validation; the last ones if no validation gave a number."""
    best = path / "checkpoints" / BEST
    weights, _ = checkpoint.load_arrays(best if best.exists() else path / "checkpoints" / LAST)
    models.set_weights(model, weights)


def make_loss(settings: ModelConfig, dataset: datasets.DatasetConfig) -> keras.losses.Loss:
    """Returns what the network of an experiment is trained with."""
    ignore = dataset.num_classes
    if settings.model_type in PRETRAINED:
        return losses.CrossEntropyDice(ignore)
    if is_two_branch(settings):
        return losses.DynamicPseudoLabel(ignore)
    if settings.ann_type == SCRIBBLE:
        return losses.PartialCrossEntropy(ignore)
    return losses.StrongSegmentation(ignore)


def make_optimizer(settings: ModelConfig, schedule: Schedule) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a round's networks."""
    if settings.model_type not in PRETRAINED:
        return CoupledSGD(polynomial_decay(settings.base_lr, schedule.steps))
    rate: Any = cosine_wave(settings.base_lr) if settings.train_scheduler else settings.base_lr
    return CoupledAdam(
        rate,
        l2=settings.train_weight_decay,
        beta_1=settings.train_beta1,
        beta_2=settings.train_beta2,
        global_clipnorm=1.0,
    )
