"""Variance of the probabilities over passes."""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import SPREAD, PassStatistics, register


@register("ensemble_variance", needs=(SPREAD,), compares=True)
def ensemble_variance(statistics: PassStatistics) -> np.ndarray:
    """Variance of the probabilities over passes (divided by M), mean over classes."""
    return statistics.spread.mean(axis=-1) / statistics.passes
