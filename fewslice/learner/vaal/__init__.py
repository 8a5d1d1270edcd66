"""VAAL: how unlike the annotated units a unit is, as a score. Its training is in `training`, which imports Keras.

Source: Sinha et al., 2019, https://arxiv.org/abs/1904.00370; settings of Vepa et al., 2024,
https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from fewslice.active.uncertainty import IMAGES, register
from fewslice.settings.declare import Count, NotNegative, Positive, declared


@declared
class VaalOptions:
    """How the networks behind the scores are trained, with the published values."""

    latent_dim: Annotated[Count, "Latent values of the autoencoder."] = 32
    batch_size: Annotated[Count, "Units of a batch, annotated ones and others each; fewer where there are fewer."] = 128
    num_epochs: Annotated[Count, "There are num_epochs * units of the pool // batch_size iterations, at least 1."] = 50
    vae_steps_per: Annotated[Count, "Steps of the autoencoder in an iteration."] = 2
    discriminator_steps_per: Annotated[Count, "Steps of the discriminator in an iteration."] = 1
    adversary_param: Annotated[NotNegative, "Weight of the autoencoder's two adversarial terms."] = 1.0
    vae_beta: Annotated[Positive, "Weight of the divergence from a standard normal."] = 1.0
    discriminator_targets: Annotated[
        Literal["corrected", "published"],
        "corrected: towards 1 for annotated units and 0 for others, as in the paper. published: towards 1 for "
        "both, the mistake of the code behind published results.",
    ] = "corrected"
    learning_rate: Annotated[Positive, "Of both Adams."] = 5e-4
    width: Annotated[Count, "Channels of the first convolution; less for quick trials on small images."] = 64


@register("vaal", source=IMAGES, options=VaalOptions, needs_labelled=True)
def vaal(
    images: Sequence[np.ndarray], is_labelled: np.ndarray, options: VaalOptions, *, folder: Path, seed: int
) -> np.ndarray:
    """Returns the (N,) scores 1 - D, D the discriminator's belief that a unit is annotated; see `train_vaal`."""
    from fewslice.learner.vaal.training import train_vaal

    return train_vaal(folder, images, is_labelled, options=options, seed=seed)
