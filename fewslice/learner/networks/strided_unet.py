"""The U-Net with strided convolutions, for images of any size: histology with MC dropout.

https://github.com/vrocheleau/active-learning-segmentation-baselines (GlaS), after
https://github.com/jeromerony/survey_wsl_histology.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from fewslice.learner.networks import NETWORKS, Schedule, SliceNetwork
from fewslice.settings.declare import BelowOne, Count, NotNegative, Positive, declared
from fewslice.train.best import Best

if TYPE_CHECKING:
    import keras

    from fewslice.active.labels import Labels
    from fewslice.data.cache import PreparedSet
    from fewslice.learner.passes import Maps, Member
    from fewslice.learner.samplers import Batches
    from fewslice.settings.datasets import DatasetConfig
    from fewslice.settings.experiment import RoundPlan


@NETWORKS.register("strided_unet")
@declared
class StridedUnet(SliceNetwork):
    """`models.build_strided_unet`: learns from crops, sees whole images of any size, predicts by dropout passes."""

    width: Annotated[Count, "Channels of the finest level."] = 16
    dropout: Annotated[BelowOne, "Share of the values that are dropped, in training and in passes."] = 0.1
    batch_size: Annotated[Count, "Crops per step."] = 16
    patch: Annotated[Count, "Rows and columns of a crop; a smaller image is filled up and ignored there."] = 416
    repeats: Annotated[float, Gt(0), "How often an annotated image is drawn per epoch, each time as another crop."] = 8
    colour_jitter: Annotated[bool, "Changes brightness, contrast, saturation and hue of crops with values 0 to 1."] = (
        True
    )
    epochs: Annotated[Count, "Epochs over the annotated images."] = 60
    drop_epochs: Annotated[Count, "Epochs after which the learning rate falls to a tenth, again and again."] = 40
    learning_rate: Annotated[Positive, "First learning rate (SGD)."] = 0.1
    momentum: Annotated[BelowOne, "Nesterov's."] = 0.9
    weight_decay: Annotated[NotNegative, "L2 decay, added to the gradient."] = 1e-4
    val_epochs: Annotated[Count, "Epochs between validations."] = 1
    val_passes: Annotated[int, Ge(0), "Dropout passes in validation; 0: without dropout. Published: 1."] = 0
    choose: Annotated[
        Literal["val_loss", "val_dice"],
        "What chooses the best weights: the lowest validation loss, of equal ones the latest; or the best Dice.",
    ] = "val_loss"
    passes: Annotated[int, Ge(0), "Dropout passes of a prediction; 0: one pass without dropout."] = 20
    average: Annotated[Literal["probabilities", "logits"], "What is averaged over passes. Published: logits."] = (
        "probabilities"
    )

    drops = True

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_strided_unet(shape, classes, width=self.width, dropout=self.dropout, seed=seed)

    def input_shape(self, size: tuple[int, int], channels: int) -> tuple[int | None, ...]:
        return (None, None, channels)

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.PooledDice(ignore_value)

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        import keras

        from fewslice.train.optimizers import CoupledSGD

        drop = self.drop_epochs * steps // self.epochs
        rate = keras.optimizers.schedules.ExponentialDecay(self.learning_rate, max(1, drop), 0.1, staircase=True)
        return CoupledSGD(rate, l2=self.weight_decay, momentum=self.momentum, nesterov=self.momentum > 0)

    def schedule(self, plan: RoundPlan, count: int) -> Schedule:
        from fewslice.learner.samplers import steps_of_epoch

        epoch = steps_of_epoch(count, self.repeats, self.batch_size)
        return Schedule(self.epochs * epoch, self.val_epochs * epoch)

    def batches(self, labels: Labels, images: Sequence[np.ndarray], *, seed: int) -> Batches:
        from fewslice.augment.colour_jitter import colour_jitter
        from fewslice.learner.samplers import CropBatches

        how = {"colours": colour_jitter} if self.colour_jitter else {}
        how |= {"batch_size": self.batch_size, "size": self.patch, "repeats": self.repeats}
        return CropBatches(labels, images, seed=seed, **how)

    def dropping(self, model: keras.Model) -> keras.Model:
        import models

        return models.dropping(model)

    def encoder_map(self, model: keras.Model, index: int) -> keras.Model:
        import models

        return models.encoder_maps(model, index)

    def predictor(self, part: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        return self._by_passes(part, self.passes)

    def best(self) -> Best:
        return Best("val_dice_loss", lowest=True, latest=True) if self.choose == "val_loss" else Best()

    def validator(
        self, model: keras.Model, volumes: PreparedSet, dataset: DatasetConfig
    ) -> Callable[[], dict[str, float]]:
        from fewslice.evaluate.validation import dice_loss_per_slice
        from fewslice.train.evaluation import validation_of

        loss = functools.partial(dice_loss_per_slice, pooled=True)
        return validation_of(dataset, self._by_passes(model, self.val_passes), volumes, loss=loss)

    def maps(self, members: Sequence[Member], images: Sequence[np.ndarray], names: Sequence[str], **how: Any) -> Maps:
        return super().maps(members, images, names, **how | {"batch_size": 1})

    def _by_passes(self, model: keras.Model, passes: int) -> Callable[[np.ndarray], np.ndarray]:
        from fewslice.learner.passes import DropoutPasses, Passes, mean_over_passes

        is_random = passes > 0 and self.dropout > 0
        member = DropoutPasses(self.dropping(model)) if is_random else Passes(model)
        return mean_over_passes(member, passes if is_random else 1, of_logits=self.average == "logits")
