"""Mean entropy of the passes."""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import ENTROPIES, PassStatistics, register


@register("expected_entropy", needs=(ENTROPIES,))
def expected_entropy(statistics: PassStatistics) -> np.ndarray:
    """Mean of H over passes: aleatoric uncertainty only."""
    return statistics.entropies / statistics.passes
