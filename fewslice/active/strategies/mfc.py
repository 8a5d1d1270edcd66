"""MultiFeature Coreset: k-center on pixels under the scribble, embeddings, metadata and uncertainty together.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.kcenter import greedy
from fewslice.active.measures.mfc import Extra, MaskedPixels, MfcDistance, MfcOptions, pool_columns
from fewslice.active.query import Choice, Query, register


@register("mfc", needs=("features", "pixels", "masks"), options=MfcOptions)
def mfc(query: Query, weights: MfcOptions) -> Choice:
    """Chooses by greedy k-center on the distance of `MfcDistance`; ties go to the lowest index.

    Args:
        query: Needs features, pixels and masks; metadata come from the pool (see `pool_columns`).
        weights: The distance; the defaults are the published configuration.

    Notes:
        As published, the scribble of a unit that was chosen before in the same query is used, though it is drawn
        only afterwards; `use_labels=False` avoids that.

    Example:
        >>> rows = np.array([[0.0], [1.0], [2.0], [10.0]])
        >>> fewslice.select("mfc", rows, budget=2, labelled=[0]).tolist()  # without pixels
        [3, 2]
        >>> fewslice.select("mfc", rows, budget=2, labelled=[0], patients=[0, 1, 0, 0], patient_wt=100.0).tolist()
        [1, 3]
    """
    return by_distance(query, weights, np.asarray(query.features).reshape(len(query.pool), -1))


def by_distance(query: Query, weights: MfcOptions, features: np.ndarray | None) -> Choice:
    """Chooses with these embeddings (N, D), or without any."""
    pixels = None
    if weights.fuse_image_data:
        masks = query.masks if weights.use_labels else None
        own = {"label_wt": weights.label_wt, "default_pos_val": weights.default_pos_val}
        pixels = MaskedPixels(query.pixels, masks, ignore_value=query.ignore_value, **own)
    columns = pool_columns(query.pool)
    if query.scores is not None:  # labelled units may have none
        columns["uncertainty"] = np.where(query.is_labelled & ~np.isfinite(query.scores), 0.0, query.scores)
    extra = Extra(weights, columns)
    distance = MfcDistance(weights, pixels=pixels, features=features, extra=extra if extra else None)
    return greedy(distance, query.budget, labelled=query.labelled, rng=query.rng)


@register("mfc_pixels", needs=("pixels", "masks"), options=MfcOptions)
def mfc_pixels(query: Query, weights: MfcOptions) -> Choice:
    """As `mfc`, for which see the options and notes; those of embeddings have no effect.

    Example:
        >>> images = np.array([0.0, 1.0, 2.0, 10.0]).reshape(4, 1, 1)
        >>> fewslice.select("mfc_pixels", pixels=images, budget=1, labelled=[0]).tolist()
        [3]
    """
    return by_distance(query, weights, None)
