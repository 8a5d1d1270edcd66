"""VAAL in plain loops."""

from __future__ import annotations

import math


def vae_loss(image, rebuilt, mean, log_variance, beta):
    """Mean squared error over everything, plus beta times the divergences summed over rows and latent values."""
    errors = [(float(a) - float(b)) ** 2 for a, b in zip(image.ravel(), rebuilt.ravel(), strict=True)]
    divergence = 0.0
    for mu, s in zip(mean.ravel(), log_variance.ravel(), strict=True):
        divergence += -0.5 * (1 + float(s) - float(mu) ** 2 - math.exp(float(s)))
    return sum(errors) / len(errors) + beta * divergence


def likelihood(logits, target):
    """Mean of the negative log-likelihood of a target under sigmoid(logit)."""
    found = []
    for logit in logits.ravel():
        belief = 1 / (1 + math.exp(-float(logit)))
        found.append(-(target * math.log(belief) + (1 - target) * math.log(1 - belief)))
    return sum(found) / len(found)
