"""Coreset: k-center on the pixels themselves, the baseline that needs no network."""

from __future__ import annotations

from fewslice.active.measures.kcenter import euclidean_k_center
from fewslice.active.measures.pixels import as_pixel_store
from fewslice.active.query import Choice, Query, register


@register("coreset", needs=("pixels",))
def coreset(query: Query) -> Choice:
    """Chooses by greedy k-center on Euclidean distances of all pixels; ties go to the lowest index.

    Source: Sener and Savarese, 2018, https://arxiv.org/abs/1708.00489, with pixels in place of embeddings.

    Example:
        >>> images = np.array([0.0, 1.0, 2.0, 10.0]).reshape(4, 1, 1)
        >>> fewslice.select("coreset", pixels=images, budget=1, labelled=[0]).tolist()
        [3]
    """
    rows = as_pixel_store(query.pixels).array.T
    return euclidean_k_center(rows, query.budget, labelled=query.labelled, rng=query.rng)
