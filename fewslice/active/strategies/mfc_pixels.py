"""MultiFeature Coreset without embeddings: k-center on pixels under the scribble, metadata and uncertainty.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763, with raw pixels as features and `use_labels`.
"""

from __future__ import annotations

from fewslice.active.measures.mfc import MfcOptions
from fewslice.active.query import Choice, Query, register
from fewslice.active.strategies.mfc import by_distance


@register("mfc_pixels", needs=("pixels", "masks"), options=MfcOptions)
def mfc_pixels(query: Query, weights: MfcOptions) -> Choice:
    """As `mfc`, for which see the options and notes; those of embeddings have no effect."""
    return by_distance(query, weights, None)
