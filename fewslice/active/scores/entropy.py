"""Entropy of the mean of all passes.

Source: Gal et al., 2017, arXiv 1703.02910; published as `entropy_w_label_probs` in Vepa et al., 2024, arXiv 2411.15763.
"""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import PassStatistics, entropy, register


@register("entropy")
def predictive_entropy(statistics: PassStatistics) -> np.ndarray:
    """H(p), the entropy of the mean: aleatoric and epistemic uncertainty."""
    return entropy(statistics.mean)
