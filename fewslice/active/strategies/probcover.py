"""Units whose balls hold the most others."""

from __future__ import annotations

from fewslice.active.measures.coverage import cover_with_balls, purity_radius, unit_rows
from fewslice.active.query import FEATURES, Choice, Query, register
from fewslice.core.errors import ConfigError


@register("probcover", needs=(FEATURES,))
def probcover(
    query: Query,
    *,
    delta: float | None = None,
    purity: float = 0.95,
    num_clusters: int = 10,
    normalise: bool = True,
) -> Choice:
    """Takes one unit after the other within whose distance `delta` lie the most units that are near no annotated one.

    Once all are near one, the rest is drawn at random. The values are the shares of the pool that a unit covers anew.
    Time grows with the square of the pool, memory linearly.

    Args:
        query: Needs features.
        delta: Radius of the balls, positive; None: the largest at which the share `purity` of the balls holds units of
            one cluster only.
        purity: Share in (0, 1).
        num_clusters: Clusters of k-means for that, at least 2. The paper takes the number of classes of its images;
            slices have none, so it is the number of kinds of slices that one would tell apart.
        normalise: Scales features to length 1 first, as in the paper; `delta` is then at most 2.

    Source: Yehuda et al., 2022, arXiv 2205.11320, algorithm 1.
    """
    if delta is not None and not 0 < delta < float("inf"):
        raise ConfigError(f"`delta` must be positive. Received: delta={delta}")
    if not 0 < purity < 1 or num_clusters < 2:
        raise ConfigError(
            "`purity` must lie between 0 and 1 and `num_clusters` be at least 2. "
            f"Received: purity={purity}, num_clusters={num_clusters}"
        )
    rows = unit_rows(query.features, normalise=normalise)
    if delta is None:
        delta = purity_radius(rows, purity=purity, num_clusters=num_clusters, rng=query.rng)
    return Choice(*cover_with_balls(rows, delta, is_labelled=query.is_labelled, budget=query.budget, rng=query.rng))
