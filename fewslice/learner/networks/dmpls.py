"""DMPLS: a U-Net with two decoders whose mixed predictions teach both, for scribbles.

Luo et al., 2022, https://arxiv.org/abs/2203.02106.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fewslice.learner.networks import NETWORKS
from fewslice.learner.networks.scribble_unet import ScribbleNetwork
from fewslice.settings.declare import declared

if TYPE_CHECKING:
    import keras


@NETWORKS.register("dmpls")
@declared
class Dmpls(ScribbleNetwork):
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
