"""1 - max p."""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import PassStatistics, register


@register("least_confidence")
def least_confidence(statistics: PassStatistics) -> np.ndarray:
    """1 - the largest mean probability."""
    return 1.0 - statistics.mean.max(axis=-1)
