"""Scores of the mean probabilities, and of the probabilities of the passes."""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import ENTROPIES, SCORES, SPREAD, PassStatistics, entropy, register


@register("entropy")
def predictive_entropy(statistics: PassStatistics) -> np.ndarray:
    """H(p), the entropy of the mean: aleatoric and epistemic uncertainty. Published as `entropy_w_label_probs`."""
    return entropy(statistics.mean)


@register("expected_entropy", needs=(ENTROPIES,))
def expected_entropy(statistics: PassStatistics) -> np.ndarray:
    """Mean of H over passes: aleatoric uncertainty only."""
    return statistics.entropies / statistics.passes


@register("bald", needs=(ENTROPIES,), compares=True)
def bald(statistics: PassStatistics) -> np.ndarray:
    """BALD, H(p) minus the expected entropy: passes that contradict each other only."""
    return entropy(statistics.mean) - statistics.entropies / statistics.passes


@register("ensemble_variance", needs=(SPREAD,), compares=True)
def ensemble_variance(statistics: PassStatistics) -> np.ndarray:
    """Variance of the probabilities over passes (divided by M), mean over classes."""
    return statistics.spread.mean(axis=-1) / statistics.passes


@register("least_confidence")
def least_confidence(statistics: PassStatistics) -> np.ndarray:
    """1 - the largest mean probability."""
    return 1.0 - statistics.mean.max(axis=-1)


@register("margin")
def margin(statistics: PassStatistics) -> np.ndarray:
    """1 - (largest - second largest mean probability)."""
    top = np.partition(statistics.mean, -2, axis=-1)
    return 1.0 - (top[..., -1] - top[..., -2])


SCORES.alias(
    "max", "expected_entropy", "the mean entropy of the passes; the entropy of their mean, max entropy, is `entropy`"
)
