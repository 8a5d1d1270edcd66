"""A U-Net whose encoder is a residual network, which group contrastive pretraining can start (`warm_start`).

Vepa et al., 2024, https://arxiv.org/abs/2411.15763, after Nguyen et al., 2023, https://arxiv.org/abs/2306.11925.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from fewslice.learner.networks import NETWORKS, Schedule, SliceNetwork
from fewslice.settings.declare import declared
from fewslice.settings.group_contrastive import ENCODERS

if TYPE_CHECKING:
    import keras

    from fewslice.settings.experiment import RoundPlan


@NETWORKS.register("resnet_unet")
@declared
class ResnetUnet(SliceNetwork):
    """`models.build_resnet_unet`, trained for epochs by Adam."""

    encoder: Annotated[Literal["resnet50", "resnet18"], "Encoder."] = "resnet50"
    batch_size: Annotated[int, Ge(1), "Slices per step."] = 8
    learning_rate: Annotated[float, Gt(0), "First learning rate (Adam)."] = 1e-4
    epochs: Annotated[int, Ge(1), "Epochs over the annotated slices."] = 50
    val_epochs: Annotated[int, Ge(1), "Epochs between validations."] = 1
    beta_1: Annotated[float, Ge(0), Lt(1), "Adam."] = 0.9
    beta_2: Annotated[float, Ge(0), Lt(1), "Adam."] = 0.999
    weight_decay: Annotated[float, Ge(0), "L2 decay, added to the gradient."] = 0.0
    cosine: Annotated[bool, "A cosine of the learning rate, 10 steps, down to 1e-5."] = False

    def build(self, shape: tuple[int, ...], classes: int, *, seed: int) -> keras.Model:
        import models

        return models.build_resnet_unet(shape, classes, depth=ENCODERS[self.encoder], seed=seed)

    def make_loss(self, ignore_value: int) -> keras.losses.Loss:
        import losses

        return losses.CrossEntropyDice(ignore_value)

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        from fewslice.train.optimizers import CosineWave, CoupledAdam

        rate: Any = CosineWave(self.learning_rate) if self.cosine else self.learning_rate
        betas = {"beta_1": self.beta_1, "beta_2": self.beta_2}
        return CoupledAdam(rate, l2=self.weight_decay, **betas, global_clipnorm=1.0)

    def schedule(self, plan: RoundPlan, count: int) -> Schedule:
        epoch = -(-count // self.batch_size)
        return Schedule(self.epochs * epoch, self.val_epochs * epoch)
