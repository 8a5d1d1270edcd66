"""Scores of the votes of the passes, each for its most probable class."""

from __future__ import annotations

import numpy as np

from fewslice.active.scores.distance import relative_distances
from fewslice.active.uncertainty import SCORES, VOTES, PassStatistics, entropy, register


def vote_shares(statistics: PassStatistics) -> np.ndarray:
    """Returns (n, *space, C) the share of the passes that vote for each class; NaN where a pass was no number."""
    shares, is_missing = statistics.votes / statistics.passes, np.isnan(statistics.mean)
    if is_missing.any():
        shares[is_missing] = np.nan
    return shares


@register("variance_ratio", needs=(VOTES,), compares=True)
def variance_ratio(statistics: PassStatistics) -> np.ndarray:
    """1 - (passes that vote for the most frequent class) / M. Published as `ensemble_variance_ratio`."""
    return 1.0 - vote_shares(statistics).max(axis=-1)


@register("vote_entropy", needs=(VOTES,), compares=True)
def vote_entropy(statistics: PassStatistics) -> np.ndarray:
    """Entropy of the shares of the passes' votes. Published as `entropy_w_label_counts`, there of equal values."""
    return entropy(vote_shares(statistics))


@register("vote_variance", needs=(VOTES,), compares=True)
def vote_variance(statistics: PassStatistics) -> np.ndarray:
    """Variance over passes of the class that each votes for (divided by M): of its number, so 0 and 2 are far apart.

    With two classes it is f (1 - f), f the share of votes for foreground. With more it depends on how they are
    numbered; `vote_entropy` and `variance_ratio` do not.

    Source: V. Rocheleau, active-learning-segmentation-baselines (2020), as `mc`.
    """
    shares = vote_shares(statistics)
    return _moment(shares, 2) - _moment(shares, 1) ** 2


@register("vote_variance_edt", needs=(VOTES,), compares=True)
def vote_variance_edt(statistics: PassStatistics) -> np.ndarray:
    """`vote_variance` weighted by the depth inside the predicted foreground: 0 outside, most in its core.

    Foreground is where the mean vote exceeds 1/2; the weight is the distance to the nearest other pixel divided by the
    largest one of the image. Without foreground the map is 0, with nothing else weights are 1.

    Source: as `vote_variance`, there its option `edt`.

    Notes:
        Differs from the published code: there an image without predicted foreground scored NaN and was ranked first,
        and one with nothing else was weighted by a ramp (SciPy's distance to a point outside the image).
    """
    return vote_variance(statistics) * relative_distances(_moment(vote_shares(statistics), 1) > 0.5)


def _moment(shares: np.ndarray, power: int) -> np.ndarray:
    return sum(label**power * shares[..., label] for label in range(1, shares.shape[-1]))


SCORES.alias("mc", "vote_variance", "the variance of the classes that the passes vote for")
