"""VAAL: the units that a discriminator finds least like the annotated ones."""

from __future__ import annotations

from fewslice.active.query import SCORES, Choice, Query, register
from fewslice.active.strategies.uncertainty import uncertainty


@register("vaal", needs=(SCORES,), needs_labelled=True)
def vaal(query: Query) -> Choice:
    """Takes the units with the largest score of `fewslice.learner.vaal`: `uncertainty` under its published name.

    Source: Sinha et al., 2019, arXiv 1904.00370, section 3.3.

    Example:
        >>> fewslice.select("vaal", scores=[0.1, 0.9, 0.4], budget=1, labelled=[1]).tolist()
        [2]
    """
    return uncertainty(query)
