"""MultiFeature Coreset: k-center on pixels under the scribble, embeddings, metadata and uncertainty together.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.kcenter import greedy
from fewslice.active.measures.mfc import Extra, MaskedPixels, MfcDistance, MfcOptions, pool_columns
from fewslice.active.query import Choice, Query, register
from fewslice.core.errors import ConfigError


@register("mfc", needs=("features", "pixels", "masks"), options=MfcOptions)
def mfc(query: Query, weights: MfcOptions) -> Choice:
    """Chooses by greedy k-center on the distance of `MfcDistance`; ties go to the lowest index.

    Args:
        query: What is known. `pixels` may be a pixel store, which is quicker (see `fewslice.active.measures.pixels`);
            metadata are looked up in the pool (see `pool_columns`).
        weights: The distance; the defaults are the published configuration.

    Notes:
        As published, the scribble of a unit that was chosen before in the same query is used, though it is drawn
        only afterwards; `use_labels=False` avoids that.
    """
    return by_distance(query, weights, np.asarray(query.features).reshape(len(query.pool), -1))


def by_distance(query: Query, weights: MfcOptions, features: np.ndarray | None) -> Choice:
    """Chooses with these embeddings (N, D), or without any."""
    pixels = None
    if weights.fuse_image_data:
        masks = query.masks if weights.use_labels else None
        pixels = MaskedPixels(
            query.pixels,
            masks,
            label_wt=weights.label_wt,
            default_pos_val=weights.default_pos_val,
            ignore_value=query.ignore_value,
        )
    columns = pool_columns(query.pool)
    if query.scores is not None:
        columns["uncertainty"] = _uncertainty(query)
    extra = Extra(weights, columns)
    distance = MfcDistance(weights, pixels=pixels, features=features, extra=extra if extra else None)
    return greedy(distance, query.budget, labelled=query.labelled, rng=query.rng)


def _uncertainty(query: Query) -> np.ndarray:
    """Returns the scores, 0 for labelled units that have none."""
    scores = np.asarray(query.scores, np.float64)
    if scores.shape != (len(query.pool),):
        raise ConfigError(f"The pool has {len(query.pool)} units, but the scores have shape {scores.shape}.")
    return np.where(query.is_labelled & ~np.isfinite(scores), 0.0, scores)


@register("mfc_pixels", needs=("pixels", "masks"), options=MfcOptions)
def mfc_pixels(query: Query, weights: MfcOptions) -> Choice:
    """As `mfc`, for which see the options and notes; those of embeddings have no effect."""
    return by_distance(query, weights, None)
