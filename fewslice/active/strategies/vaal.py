"""VAAL: the units that a discriminator finds least like the annotated ones."""

from __future__ import annotations

import dataclasses

from fewslice.active.query import SCORES, Choice, Query, best_first, register
from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

TARGETS = ("corrected", "published")


@dataclasses.dataclass(frozen=True)
class VaalOptions:
    """How the networks behind the scores are trained (`fewslice.learner.vaal`), with the published values.

    Attributes:
        latent_dim: Latent values of the autoencoder.
        batch_size: Units of a batch, annotated ones and others each; fewer where there are fewer.
        num_epochs: There are num_epochs * units of the pool // batch_size iterations, at least 1.
        vae_steps_per: Steps of the autoencoder in an iteration.
        discriminator_steps_per: Steps of the discriminator in an iteration.
        adversary_param: Weight of the autoencoder's two adversarial terms.
        vae_beta: Weight of the divergence from a standard normal.
        discriminator_targets: "corrected": towards 1 for annotated units and 0 for others, as in the paper.
            "published": towards 1 for both, the mistake of the code behind published results.
        learning_rate: Of both Adams.
        width: Channels of the first convolution; less for quick trials on small images.
        beta: Taken because published settings hold it; it has no influence, there neither.

    Raises:
        ConfigError: values that make no sense, all at once.
    """

    latent_dim: int = 32
    batch_size: int = 128
    num_epochs: int = 50
    vae_steps_per: int = 2
    discriminator_steps_per: int = 1
    adversary_param: float = 1.0
    vae_beta: float = 1.0
    discriminator_targets: str = "corrected"
    learning_rate: float = 5e-4
    width: int = 64
    beta: float = 1.0

    def __post_init__(self):
        positive = [field.name for field in dataclasses.fields(self) if field.name not in _ANY_SIGN]
        problems = [
            f"`{name}` must be positive. Received: {name}={getattr(self, name)}"
            for name in positive
            if not getattr(self, name) > 0
        ]
        if not self.adversary_param >= 0:
            problems.append(f"`adversary_param` must not be negative. Received: {self.adversary_param}")
        if self.discriminator_targets not in TARGETS:
            problems.append(unknown_name("discriminator_targets", self.discriminator_targets, TARGETS))
        if problems:
            raise ConfigError("\n".join(problems))


_ANY_SIGN = ("adversary_param", "discriminator_targets", "beta")


@register("vaal", needs=(SCORES,), options=VaalOptions, needs_labelled=True)
def vaal(query: Query, options: VaalOptions) -> Choice:
    """Takes the units with the largest 1 - D, D the discriminator's belief that a unit is annotated.

    The generator decides between equal scores. The values are the scores.

    Args:
        query: Needs scores, those of `fewslice.learner.vaal`, and at least one annotated unit.
        options: How these were made; nothing is looked at here.

    Source: Sinha et al., 2019, arXiv 1904.00370, section 3.3.
    """
    del options
    chosen = query.candidates[best_first(query.scores[query.candidates], query.budget, rng=query.rng)]
    return Choice(chosen, query.scores[chosen].astype(float))
