"""1 - (p1 - p2), the margin of the two most probable classes."""

from __future__ import annotations

import numpy as np

from fewslice.active.uncertainty import PassStatistics, register


@register("margin")
def margin(statistics: PassStatistics) -> np.ndarray:
    """1 - (largest - second largest mean probability)."""
    top = np.partition(statistics.mean, -2, axis=-1)
    return 1.0 - (top[..., -1] - top[..., -2])
