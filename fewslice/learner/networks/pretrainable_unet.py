"""The U-Net of the contrastive stages, which their encoders can start (`warm_start`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewslice.learner.networks import NETWORKS, StepwiseNetwork
from fewslice.learner.networks.scribble_unet import Loss
from fewslice.settings.declare import declared

if TYPE_CHECKING:
    import keras


@NETWORKS.register("pretrainable_unet")
@declared
class PretrainableUnet(StepwiseNetwork):
    """`models.build_unet`."""

    loss: Loss = "strong_segmentation"

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_unet(shape, classes, seed=seed)

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.get(self.loss)(ignore_value)
