"""BALD: mutual information between prediction and weights, H[E p] - E H[p] (nats).

Source: Houlsby et al., 2011, arXiv 1112.5745; Gal et al., 2017, arXiv 1703.02910.
"""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import ENTROPIES, PassStatistics, entropy, register


@register("bald", needs=(ENTROPIES,), compares=True)
def bald(statistics: PassStatistics) -> np.ndarray:
    """H(p) minus the expected entropy: passes that contradict each other only."""
    return entropy(statistics.mean) - statistics.entropies / statistics.passes
