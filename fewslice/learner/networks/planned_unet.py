"""The U-Net of the planned recipe: the network and the training that `--recipe=planned` has in the other stages.

Source: `fewslice.settings.recipe`; without its deep supervision and oversampling.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from fewslice.learner.networks import NETWORKS
from fewslice.learner.networks.unets import PretrainableUnet
from fewslice.settings import recipe
from fewslice.settings.declare import BelowOne, Positive, declared

if TYPE_CHECKING:
    import keras


@NETWORKS.register("planned_unet")
@declared
class PlannedUnet(PretrainableUnet):
    """`models.build_unet`, as deep as the slices are large; the average of the last weights counts."""

    keeps_last = True

    unet: Annotated[str | None, "Channels of each level; default: planned for the size of the slices."] = None
    normalisation: Annotated[Literal["batch", "instance"], "Of the batch, or of each image by itself."] = "instance"
    learning_rate: Annotated[Positive, "First learning rate (Adam), which falls to 0."] = 1e-3
    average_decay: Annotated[BelowOne, "Decay per step of the average of the weights; 0: no average."] = 0.99
    augment: Annotated[
        str, "Transforms of fewslice/augment/standard.py, separated by commas, in place of the planned ones."
    ] = ",".join(name for name in recipe.TRANSFORMS if name != recipe.MIRRORING)
    mirroring: Annotated[
        bool, "Slices are flipped in training, and predictions are means over flips. Not for left and right."
    ] = False

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models
        from fewslice.train.setup import architecture

        widths = self.unet or ",".join(map(str, recipe.widths(shape[:2])))
        arch = architecture({"unet": widths, "normalisation": self.normalisation})
        return models.build_unet(shape, classes, seed=seed, arch=arch)

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        import keras

        from fewslice.train.optimizers import polynomial_decay

        return keras.optimizers.Adam(polynomial_decay(self.learning_rate, steps))

    def augmentation(self) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
        from fewslice.augment.standard import augment, listed

        names = listed(self.augment) + (recipe.MIRRORING,) * self.mirroring
        return functools.partial(augment, names=names)

    def predictor(self, part: keras.Model, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        from fewslice.train.predict import ensemble

        predict = super().predictor(part, batch_size)
        return ensemble([predict], mirroring=True) if self.mirroring else predict
