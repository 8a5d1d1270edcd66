"""Units whose balls hold the most others."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Lt

from fewslice.active.measures.coverage import cover_with_balls, purity_radius, unit_rows
from fewslice.active.query import FEATURES, Choice, Query, register
from fewslice.settings.declare import Positive


@register("probcover", needs=(FEATURES,))
def probcover(
    query: Query,
    *,
    delta: Positive | None = None,
    purity: Annotated[float, Gt(0), Lt(1)] = 0.95,
    num_clusters: Annotated[int, Ge(2)] = 10,
    normalise: bool = True,
) -> Choice:
    """Takes one unit after the other within whose distance `delta` lie the most units that are near no annotated one.

    Once all are near one, the rest is drawn at random. The values are the shares of the pool that a unit covers anew.
    Time grows with the square of the pool, memory linearly.

    Args:
        delta: Radius of the balls; None: the largest at which the share `purity` of the balls holds units of
            one cluster only.
        purity: See `delta`.
        num_clusters: Clusters of k-means for that. The paper takes the number of classes of its images;
            slices have none, so it is the number of kinds of slices that one would tell apart.
        normalise: Scales features to length 1 first, as in the paper; `delta` is then at most 2.

    Source: Yehuda et al., 2022, arXiv 2205.11320, algorithm 1.

    Example:
        >>> rows = np.array([[0, 0], [0.1, 0], [5, 0], [5.1, 0], [0, 9], [0.1, 9]])
        >>> fewslice.select("probcover", rows, budget=3, delta=1.0, normalise=False).tolist()
        [5, 2, 1]
    """
    rows = unit_rows(query.features, normalise=normalise)
    if delta is None:
        delta = purity_radius(rows, purity=purity, num_clusters=num_clusters, rng=query.rng)
    return cover_with_balls(query, rows, delta)
