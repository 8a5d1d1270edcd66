"""Entropy of the votes.

Source: published as `entropy_w_label_counts` in Vepa et al., 2024, arXiv 2411.15763, there of equal values.
"""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import VOTES, PassStatistics, entropy, register


@register("vote_entropy", needs=(VOTES,), compares=True)
def vote_entropy(statistics: PassStatistics) -> np.ndarray:
    """Entropy of the shares of the passes' votes."""
    return entropy(statistics.votes / statistics.passes)
