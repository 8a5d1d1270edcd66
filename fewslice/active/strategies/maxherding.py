"""Units that cover the pool best under a smooth kernel."""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.coverage import cover_with_kernel, unit_rows
from fewslice.active.query import FEATURES, Choice, Query, register
from fewslice.settings.declare import Positive


@register("maxherding", needs=(FEATURES,))
def maxherding(query: Query, *, bandwidth: Positive = 1.0, normalise: bool = True) -> Choice:
    """Raises the mean over all units of the kernel with the nearest annotated or chosen unit as much as each can.

    The kernel is exp(-|x - y|^2 / (2 bandwidth^2)). The values are what each unit adds. Time grows with the square of
    the pool, memory linearly.

    Args:
        bandwidth: Of the kernel.
        normalise: Scales features to length 1 first, as in the paper, so that a bandwidth of 1 suits any encoder.

    Source: Bae et al., 2024, arXiv 2407.12212.

    Example:
        >>> rows = np.array([[0, 0], [0.1, 0], [5, 0], [5.1, 0], [0, 9], [0.1, 9]])
        >>> fewslice.select("maxherding", rows, budget=3, normalise=False).tolist()  # one of each pair
        [2, 5, 1]
    """
    rows = unit_rows(query.features, normalise=normalise)
    return cover_with_kernel(query, rows, bandwidth, np.ones(len(rows)))
