"""k-center on the embedding of a graph network that tells annotated units from others."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from fewslice.active.measures.gcn import SimilarityGraph, Training, learn
from fewslice.active.measures.kcenter import euclidean_k_center
from fewslice.active.query import FEATURES, Choice, Query, register
from fewslice.settings.declare import Count, declared


@declared
class CoreGcnOptions(Training):
    """Options of CoreGCN, with the published names and values."""

    subset_size: Annotated[
        Count | Literal["all"],
        "Unlabelled units that the graph holds, drawn at random, or `all`; never fewer than the budget.",
    ] = "all"
    starting_sample: Annotated[Count, "Annotated units that the network needs."] = 5
    use_random_start: Annotated[
        bool, "Units are drawn at random until there are so many; false: by k-center on the features."
    ] = True
    adj_sim_wt_metric: Annotated[
        Literal["k_slice_wt", "inv_slice_wt", "exp_slice_wt"] | None,
        "How the similarity of two units falls with the distance of their positions in their volumes.",
    ] = None
    s_margin: Annotated[float, "Accepted for published settings; no effect, as in the published code."] = 0.1


@register("coregcn", needs=(FEATURES,), options=CoreGcnOptions)
def coregcn(query: Query, options: CoreGcnOptions) -> Choice:
    """Trains a graph network to tell annotated units from others and takes the farthest units in its embedding.

    Below `starting_sample` annotated units the first ones are chosen without the network. The distance is that of the
    hidden values together with the output before the sigmoid. The values are distances to the nearest unit annotated
    or chosen before, NaN for random ones. Trained weights and features of the graph are held a few times each, so
    features of some hundred values (a pooled map of the network) suit it, not whole maps.

    Args:
        options: Graph, network and training.

    Source: Caramalau et al., 2021, arXiv 2006.10219; values of Vepa et al., 2024, arXiv 2411.15763.

    Notes:
        Differs from the published code: that returned places in the shuffled subset as if they were indices of files,
        and drew the first units from annotated ones, too.

    Example:
        >>> rows = np.array([[0, 0], [0.1, 0], [5, 0], [5.1, 0], [0, 9], [0.1, 9]])
        >>> fewslice.select("coregcn", rows, budget=2, labelled=[0, 1], starting_sample=2).tolist()
        [5, 4]
    """
    early = min(max(options.starting_sample - len(query.labelled), 0), query.budget)
    if options.use_random_start:
        start = Choice.unranked(query.rng.choice(query.candidates, early, replace=False))
    else:
        start = euclidean_k_center(query.features, early, labelled=query.labelled, rng=query.rng)
    left = query.budget - early
    if left == 0:
        return start
    centres = np.concatenate([query.labelled, start.indices])
    free = query.rng.permutation(np.setdiff1d(query.candidates, start.indices))
    free = free if options.subset_size == "all" else free[: max(options.subset_size, left)]
    rows = np.concatenate([free, centres])  # row of the graph -> index in the pool
    is_labelled = np.arange(len(rows)) >= len(free)
    graph = SimilarityGraph(query.features[rows], query.pool.positions[rows], options.adj_sim_wt_metric)
    learned = learn(graph, is_labelled, training=options, rng=query.rng)
    found = euclidean_k_center(learned, left, labelled=np.flatnonzero(is_labelled), rng=query.rng)
    return Choice(np.concatenate([start.indices, rows[found.indices]]), np.concatenate([start.values, found.values]))
