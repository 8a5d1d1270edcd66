"""Random batches of units, ranked by their mean uncertainty."""

from __future__ import annotations

import numpy as np

from fewslice.active.query import SCORES, Choice, Query, register
from fewslice.settings.declare import Count


@register("stochastic_batches", needs=(SCORES,))
def stochastic_batches(query: Query, *, sbatch_size: Count = 10) -> Choice:
    """Deals the unlabelled units at random into batches and takes whole batches, highest mean score first.

    The last batch that is taken is cut to the budget. The values are the batches' means.

    Args:
        sbatch_size: Units per batch; the last batch may be smaller.

    Source: Gaillochet et al., 2023, arXiv 2301.07670.

    Example:
        >>> scores = [0.1, 0.9, 0.4, 0.2]
        >>> fewslice.select("stochastic_batches", scores=scores, budget=2, sbatch_size=2).tolist()
        [1, 3]
    """
    dealt = query.rng.permutation(query.candidates)
    means = batch_means(query.scores[dealt], sbatch_size)
    ranked = np.argsort(-means, kind="stable")[: query.budget]  # members of a batch stay together
    return Choice(dealt[ranked], means[ranked])


def batch_means(scores: np.ndarray, size: int) -> np.ndarray:
    """Returns (n,) float64: for each of (n,) scores the mean of its batch of `size` consecutive ones."""
    starts = np.arange(0, len(scores), size)
    sums, counts = np.add.reduceat(scores.astype(np.float64), starts), np.diff([*starts, len(scores)])
    return np.repeat(sums / counts, counts)
