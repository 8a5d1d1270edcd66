"""The U-Nets: of scribble supervision with one or two decoders, and of the contrastive stages.

DMPLS has two decoders whose mixed predictions teach both, for scribbles: Luo et al., 2022,
https://arxiv.org/abs/2203.02106. With one decoder the network learns from full masks, or from scribbles by partial
cross-entropy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from fewslice.learner.networks import NETWORKS, StepwiseNetwork
from fewslice.settings.declare import Later, declared

if TYPE_CHECKING:
    import keras


@declared
class ChosenLoss(StepwiseNetwork):
    """A network with one decoder, whose loss is an option."""

    loss: Annotated[
        Literal["strong_segmentation", "partial_cross_entropy"],
        "strong_segmentation: cross-entropy and Dice, for full masks. partial_cross_entropy: for scribbles.",
    ] = "strong_segmentation"

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.get(self.loss)(ignore_value)


class Dropping:
    """The abilities of networks with dropout whose encoder's layers are called as in `models.build_scribble_unet`."""

    drops = True

    def dropping(self, model: keras.Model) -> keras.Model:
        import models

        return models.dropping(self.part(model))

    def encoder_map(self, model: keras.Model, index: int) -> keras.Model:
        import models

        return models.encoder_maps(model, index)


@NETWORKS.register("pretrainable_unet")
@declared
class PretrainableUnet(ChosenLoss):
    """`models.build_unet`, the U-Net of the contrastive stages, which their encoders can start (`warm_start`)."""

    unet: Annotated[str | None, Later("Channels of each level; default: 16,32,64,128,128,128.")] = None
    normalisation: Annotated[Literal["batch", "instance"], Later("Of the batch, or of each image by itself.")] = "batch"

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models
        from fewslice.train.setup import architecture

        return models.build_unet(shape, classes, seed=seed, arch=architecture(vars(self)))


@NETWORKS.register("scribble_unet")
@declared
class ScribbleUnet(Dropping, ChosenLoss):
    """The network with one branch."""

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_scribble_unet(shape, classes, branches=1, seed=seed)


@NETWORKS.register("dmpls")
@declared
class Dmpls(Dropping, StepwiseNetwork):
    """The network with two branches; the main one is evaluated."""

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_scribble_unet(shape, classes, branches=2, seed=seed)

    def part(self, model: keras.Model) -> keras.Model:
        import models

        return models.main_branch(model)

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.DynamicPseudoLabel(ignore_value)

    def targets(self, labels: np.ndarray, mixing: float) -> np.ndarray:
        import losses

        return losses.mixing_targets(labels, mixing)
