"""The segmentation networks of active learning: options, building, training, prediction.

A file here, or a plugin, registers a class under the name that experiments use (`network: dmpls`). Its fields are the
options that an experiment may set. `SliceNetwork` and `WindowNetwork` are the common base of networks of slices and of
3D windows.

    @NETWORKS.register("small_unet")
    @declared
    class SmallUnet(SliceNetwork):
        batch_size: Annotated[Count, "Slices per step."] = 4

        def build(self, shape, classes, *, seed): ...
        def make_loss(self, ignore_value): ...
        def make_optimizer(self, steps): ...
        def schedule(self, plan, count): ...

Names and options are known before Keras is imported, which takes seconds: methods import it when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Gt

from fewslice.core.errors import ConfigError
from fewslice.core.registry import Registry
from fewslice.settings.declare import declared

if TYPE_CHECKING:
    import keras

    from fewslice.active.labels import Labels
    from fewslice.data.cache import PreparedSet
    from fewslice.learner.passes import Maps, Member
    from fewslice.learner.samplers import Batches
    from fewslice.settings.datasets import DatasetConfig
    from fewslice.settings.experiment import Named, RoundPlan

NETWORKS = Registry("network", __name__)
_STATISTICS = 10  # batches that statistics of batch normalisation are measured on
SCORING_BATCH = 16  # slices or windows that a network gets at a time where nothing is trained


class Schedule(NamedTuple):
    """Training steps, and steps between two validations."""

    steps: int
    segment: int


class Network:
    """A kind of network, with its options.

    `drops` tells whether it has dropout that can stay active at inference (MC dropout); `chooses`, `keeps_last` and
    `average_decay` are those of `fewslice.train.trainer.Plan`: which weights count.
    """

    drops, chooses, keeps_last, average_decay = False, "val_dice", False, 0.0
    batch_size: int

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        """Returns the network with its initial weights.

        Args:
            shape: Of its input without the batch axis, channels last.
            classes: Classes including background.
            seed: Of the initial weights, and of dropout.
        """
        raise NotImplementedError

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        """Returns the training loss; `ignore_value` is the label of unknown voxels."""
        raise NotImplementedError

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """Returns the optimizer of a training of `steps` steps."""
        raise NotImplementedError

    def schedule(self, plan: RoundPlan, count: int) -> Schedule:
        """Returns the schedule of a round with `count` annotated units."""
        raise NotImplementedError

    def batches(self, labels: Labels, images: Sequence[np.ndarray], *, seed: int) -> Batches:
        """Returns the training batches.

        Args:
            labels: Everything annotated.
            images: (slices, rows, columns, channels) of each case of the pool, maybe memory-mapped.
            seed: Of order and augmentation.
        """
        raise NotImplementedError

    def part(self, model: keras.Model) -> keras.Model:
        """Returns the network image -> logits of the evaluated decoder, on the same weights."""
        return model

    def dropping(self, model: keras.Model) -> keras.Model:
        """Returns that network with active dropout; for networks that say `drops`."""
        raise ConfigError(f"The network {type(self).__name__} has no dropout, so that all its passes are the same.")

    def encoder_map(self, model: keras.Model, index: int) -> keras.Model:
        """Returns the network image -> map `index` of the encoder, 0 the finest, -1 the coarsest.

        Raises:
            ConfigError: it has no such maps.
        """
        raise ConfigError(
            f"The network {type(self).__name__} gives no maps of its encoder. Use other features, such as predictions."
        )

    def before_validation(self, model: keras.Model, batches: Batches, step: int) -> None:
        """Prepares the network for validation after `step` training steps; does nothing by default."""

    def validator(
        self, model: keras.Model, volumes: PreparedSet, dataset: DatasetConfig
    ) -> Callable[[], dict[str, float]]:
        """Returns the function that scores the network on validation volumes, from the weights alone."""
        from fewslice.train.evaluation import validation_of

        return validation_of(dataset, self.predictor(self.part(model), dataset.mtask_bs), volumes)

    def predictor(self, part: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the function (slices, rows, columns, channels) -> class probabilities of `part` for a volume."""
        from fewslice.train.predict import predictor

        return predictor(part, batch_size, getattr(self, "window", None))

    def maps(self, members: Sequence[Member], images: Sequence[np.ndarray], names: Sequence[str], **how: Any) -> Maps:
        """Yields score maps case by case, see `slice_maps` and `window_maps` in `fewslice.learner.passes`."""
        raise NotImplementedError

    def input_shape(self, size: tuple[int, int], channels: int) -> tuple[int, ...]:
        """Returns the input shape for a dataset with slices of `size`."""
        raise NotImplementedError


class SliceNetwork(Network):
    """A network of whole slices."""

    def input_shape(self, size: tuple[int, int], channels: int) -> tuple[int, ...]:
        return (*size, channels)

    def batches(self, labels: Labels, images: Sequence[np.ndarray], *, seed: int) -> Batches:
        from fewslice.learner.samplers import SliceBatches

        how = {"seed": seed, "batch_size": self.batch_size, "targets": self.targets}
        return SliceBatches(labels, images, augmentation=self.augmentation(), **how)

    def augmentation(self) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
        """Returns the augmentation of a batch, as `SliceBatches` takes it."""
        from fewslice.augment.rot_flip import rot_flip

        return rot_flip

    def targets(self, labels: np.ndarray, mixing: float) -> np.ndarray:
        """Returns the targets of a batch for the loss.

        Args:
            labels: (batch, rows, columns) int32 classes and ignore values.
            mixing: A number in [0, 1) drawn for each batch, for losses that mix decoders.
        """
        return labels

    def maps(self, members: Sequence[Member], images: Sequence[np.ndarray], names: Sequence[str], **how: Any) -> Maps:
        from fewslice.learner.passes import slice_maps

        return slice_maps(members, images, names, **how)


class WindowNetwork(Network):
    """A network of 3D windows: around the annotations in training, a sliding window otherwise.

    `window` are the voxels of its input along (slice, row, column); neighbouring windows share half of them.
    """

    window: tuple[int, int, int]

    def input_shape(self, size: tuple[int, int], channels: int) -> tuple[int, ...]:
        return (*self.window, channels)

    def batches(self, labels: Labels, images: Sequence[np.ndarray], *, seed: int) -> Batches:
        from fewslice.learner.samplers import WindowBatches

        return WindowBatches(labels, images, seed=seed, batch_size=self.batch_size, window=self.window)

    def maps(self, members: Sequence[Member], images: Sequence[np.ndarray], names: Sequence[str], **how: Any) -> Maps:
        from fewslice.learner.passes import window_maps

        return window_maps(members, images, names, window=self.window, **how)


@declared
class RecomputesStatistics(SliceNetwork):
    """A network whose batch normalisation can be measured anew, since moving statistics lag behind short trainings."""

    recompute_bn_statistics: Annotated[
        bool,
        "Before every validation the statistics of batch normalisation are measured anew on ten training batches, "
        "without dropout, as the network is used.",
    ] = False

    def before_validation(self, model: keras.Model, batches: Batches, step: int) -> None:
        if self.recompute_bn_statistics:
            import models

            places = range(step, step + _STATISTICS)
            models.estimate_statistics(self.part(model), (batches.batch(place)[0] for place in places))


@declared
class StepwiseNetwork(RecomputesStatistics):
    """A network trained for steps by stochastic gradient descent with a polynomially decaying rate.

    Source: Luo et al., 2022, https://arxiv.org/abs/2203.02106; as in Vepa et al., 2024,
    https://arxiv.org/abs/2411.15763.
    """

    batch_size: Annotated[int, Ge(1), "Slices per step."] = 6
    learning_rate: Annotated[float, Gt(0), "First learning rate."] = 0.01
    steps: Annotated[int, Ge(1), "Steps if the whole pool were annotated; a round trains for its share of them."] = (
        60000
    )
    val_every: Annotated[int, Ge(1), "Steps between validations."] = 200

    def schedule(self, plan: RoundPlan, count: int) -> Schedule:
        steps = max(1, int(self.steps * plan.training_share))
        return Schedule(steps, min(self.val_every, steps))

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        from fewslice.train.optimizers import CoupledSGD, polynomial_decay

        return CoupledSGD(polynomial_decay(self.learning_rate, steps))


def network_of(named: Named) -> Network:
    """Returns the network of an experiment with its options. Raises `ConfigError` for an unknown name."""
    return NETWORKS.get(named.name)(**named.options)
