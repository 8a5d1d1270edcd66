"""The most uncertain units."""

from __future__ import annotations

from fewslice.active.query import SCORES, Choice, Query, register
from fewslice.active.ties import best_first


@register("uncertainty", needs=(SCORES,))
def uncertainty(query: Query) -> Choice:
    """Takes the units with the largest scores, most uncertain first; the generator decides between equal scores.

    Which uncertainty it is depends on the scores (see `fewslice.active.uncertainty`). Given 1 - D of a discriminator D
    that tells annotated units from others, it is the choice of VAAL (Sinha et al., 2019, arXiv 1904.00370).

    Source: Lewis and Gale, 1994, arXiv cmp-lg/9407020; Vepa et al., 2024, arXiv 2411.15763.

    Notes:
        Differs from the published code, which takes equal scores in the order of the file names.
    """
    chosen = query.candidates[best_first(query.scores[query.candidates], query.budget, rng=query.rng)]
    return Choice(chosen, query.scores[chosen].astype(float))
