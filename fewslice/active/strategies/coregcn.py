"""k-center on what a graph network learned about annotated and other units."""

from __future__ import annotations

import numpy as np

from fewslice.active.gcn import learn, training_of
from fewslice.active.kcenter_euclidean import euclidean_k_center
from fewslice.active.query import FEATURES, Choice, Query, register
from fewslice.errors import ConfigError


@register("coregcn", needs=(FEATURES,))
def coregcn(
    query: Query,
    *,
    subset_size: int | str = "all",
    starting_sample: int = 5,
    use_random_start: bool = True,
    **training: float,
) -> Choice:
    """Trains a graph network to tell annotated units from others and takes the farthest in what it learned.

    Below `starting_sample` annotated units the first ones are chosen without the network. The distance is that of the
    hidden values together with the output before the sigmoid. The values are distances to the nearest unit annotated
    or chosen before, NaN for random ones.

    Args:
        query: Needs features.
        subset_size: Unlabelled units that the graph holds, drawn at random, or "all"; never fewer than are bought.
        starting_sample: Annotated units that the network needs, at least 1.
        use_random_start: Units are drawn at random until there are so many; False: by k-center on the features.
        **training: hidden_units (128), dropout (0.3), learning_rate (0.001), weight_decay (0.0005), lambda_loss (1.2),
            num_epochs (200).

    Source: Caramalau et al., 2021, arXiv 2006.10219; values of Vepa et al., 2024, arXiv 2411.15763.

    Notes:
        Differs from the published code: that returned places in the shuffled subset as if they were indices of files,
        and drew the first units from annotated ones, too.
    """
    settings = training_of(training)
    if starting_sample < 1:
        raise ConfigError(f"`starting_sample` must be at least 1. Received: starting_sample={starting_sample}")
    if subset_size != "all" and not (isinstance(subset_size, int) and subset_size > 0):
        raise ConfigError(f"`subset_size` must be 'all' or a positive number. Received: subset_size={subset_size!r}")
    early = min(max(starting_sample - len(query.labelled), 0), query.budget)
    if use_random_start:
        start = Choice(query.rng.choice(query.candidates, early, replace=False), np.full(early, np.nan))
    else:
        start = euclidean_k_center(query.features, early, labelled=query.labelled, rng=query.rng)
    left = query.budget - early
    if left == 0:
        return start
    centres = np.concatenate([query.labelled, start.indices])
    free = query.rng.permutation(np.setdiff1d(query.candidates, start.indices))
    free = free if subset_size == "all" else free[: max(subset_size, left)]
    rows = np.concatenate([free, centres])  # row of the graph -> index in the pool
    is_labelled = np.arange(len(rows)) >= len(free)
    learned = learn(query.features[rows], is_labelled, training=settings, rng=query.rng)
    found = euclidean_k_center(learned, left, labelled=np.flatnonzero(is_labelled), rng=query.rng)
    return Choice(np.concatenate([start.indices, rows[found.indices]]), np.concatenate([start.values, found.values]))
