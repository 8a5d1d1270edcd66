"""The U-Net with strided convolutions, for images of any size: histology with MC dropout.

https://github.com/vrocheleau/active-learning-segmentation-baselines (GlaS), after
https://github.com/jeromerony/survey_wsl_histology.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from fewslice.learner.networks import NETWORKS, RecomputesStatistics, Schedule
from fewslice.learner.networks.unets import Dropping
from fewslice.settings.declare import BelowOne, Count, NotNegative, Positive, declared

if TYPE_CHECKING:
    import keras


@NETWORKS.register("strided_unet")
@declared
class StridedUnet(Dropping, RecomputesStatistics):
    """`models.build_strided_unet`: learns from crops, sees whole images of any size, predicts by dropout passes."""

    width: Annotated[Count, "Channels of the finest level."] = 16
    batch_size: Annotated[Count, "Crops per step."] = 16
    patch: Annotated[Count, "Rows and columns of a crop; a smaller image is filled up and ignored there."] = 416
    repeats: Annotated[Positive, "How often an annotated image is drawn per epoch, each time as another crop."] = 8
    colour_jitter: Annotated[bool, "Crops change in brightness, contrast, saturation and hue."] = True
    epochs: Annotated[Count, "Epochs over the annotated images."] = 60
    drop_epochs: Annotated[Count, "Epochs after which the learning rate falls to a tenth, again and again."] = 40
    learning_rate: Annotated[Positive, "First learning rate (SGD)."] = 0.1
    momentum: Annotated[BelowOne, "Nesterov's."] = 0.9
    weight_decay: Annotated[NotNegative, "L2 decay, added to the gradient."] = 1e-4
    val_epochs: Annotated[Count, "Epochs between validations."] = 1
    val_passes: Annotated[int, Ge(0), "Dropout passes in validation; 0: without dropout. Published: 1."] = 0
    chooses: Annotated[
        Literal["val_dice_loss", "val_dice"],
        "What chooses the best weights: lowest validation loss, of equal ones the latest; or highest Dice.",
    ] = "val_dice_loss"
    passes: Annotated[int, Ge(0), "Dropout passes of a prediction; 0: one pass without dropout."] = 20
    average: Annotated[Literal["probabilities", "logits"], "Mean over passes. Published: logits."] = "probabilities"

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_strided_unet(shape, classes, width=self.width, seed=seed)

    def input_shape(self, size: tuple[int, int], channels: int) -> tuple[int | None, ...]:
        return (None, None, channels)

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.Dice(pooled=True)

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        import keras

        from fewslice.train.optimizers import CoupledSGD

        drop = self.drop_epochs * steps // self.epochs
        rate = keras.optimizers.schedules.ExponentialDecay(self.learning_rate, drop, 0.1, staircase=True)
        return CoupledSGD(rate, l2=self.weight_decay, momentum=self.momentum, nesterov=self.momentum > 0)

    def schedule(self, plan, count: int) -> Schedule:
        from fewslice.learner.samplers import steps_of_epoch

        epoch = steps_of_epoch(count, self.repeats, self.batch_size)
        return Schedule(self.epochs * epoch, self.val_epochs * epoch)

    def batches(self, labels, images, *, seed: int):
        from fewslice.augment.colour_crop import JITTER, colour_crop
        from fewslice.learner.samplers import CropBatches

        def one_hot(classes: np.ndarray, mixing: float) -> np.ndarray:
            """All classes of an unknown pixel are 0."""
            return (classes[..., None] == np.arange(labels.ignore_value)).astype(np.float32)

        how = {"size": self.patch, "label_fill": labels.ignore_value, "jitter": JITTER if self.colour_jitter else {}}
        crop = functools.partial(colour_crop, **how)
        how = {"seed": seed, "batch_size": self.batch_size, "repeats": self.repeats, "targets": one_hot}
        return CropBatches(labels, images, crop=crop, **how)

    def validator(self, model: keras.Model, volumes, dataset) -> Callable[[], dict[str, float]]:
        from fewslice.evaluate.validation import dice_loss_per_slice
        from fewslice.train.evaluation import validation_of

        loss = functools.partial(dice_loss_per_slice, pooled=True)
        return validation_of(dataset, self._by_passes(model, self.val_passes), volumes, loss=loss)

    def predictor(self, part: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        return self._by_passes(part, self.passes)

    def maps(self, *given: Any, **how: Any) -> Any:
        return super().maps(*given, **how | {"batch_size": 1})

    def _by_passes(self, model: keras.Model, passes: int) -> Callable[[np.ndarray], np.ndarray]:
        from fewslice.learner.passes import DropoutPasses, Passes, mean_over_passes

        member = DropoutPasses(self.dropping(model)) if passes else Passes(model)
        return mean_over_passes(member, passes or 1, of_logits=self.average == "logits")
