"""The U-Net of scribble supervision with one decoder: for full masks, or for scribbles by partial cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fewslice.learner.networks import NETWORKS, StepwiseNetwork
from fewslice.settings.declare import declared

if TYPE_CHECKING:
    import keras

Loss = Annotated[
    Literal["strong_segmentation", "partial_cross_entropy"],
    "strong_segmentation: cross-entropy and Dice, for full masks. partial_cross_entropy: for scribbles.",
]


@declared
class ScribbleNetwork(StepwiseNetwork):
    """The networks of `models.build_scribble_unet`."""

    drops = True

    def dropping(self, model: keras.Model) -> keras.Model:
        import models

        return models.dropout_part(model)

    def encoder_map(self, model: keras.Model, index: int) -> keras.Model:
        import models

        return models.encoder_maps(model, index)


@NETWORKS.register("scribble_unet")
@declared
class ScribbleUnet(ScribbleNetwork):
    """The network with one branch."""

    loss: Loss = "strong_segmentation"

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_scribble_unet(shape, classes, branches=1, seed=seed)

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.get(self.loss)(ignore_value)
