"""Share of the passes that do not vote for the most frequent class.

Source: published as `ensemble_variance_ratio` in Vepa et al., 2024, arXiv 2411.15763.
"""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import VOTES, PassStatistics, register


@register("variance_ratio", needs=(VOTES,), compares=True)
def variance_ratio(statistics: PassStatistics) -> np.ndarray:
    """1 - (passes that vote for the most frequent class) / M."""
    return 1.0 - statistics.votes.max(axis=-1) / statistics.passes
