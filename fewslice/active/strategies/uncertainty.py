"""The most uncertain units."""

from __future__ import annotations

from fewslice.active.query import SCORES, Choice, Query, best_first, register


@register("uncertainty", needs=(SCORES,), obeys_rules=True)
def uncertainty(query: Query) -> Choice:
    """Takes the units with the largest scores, most uncertain first; ties are broken at random (seeded).

    Which uncertainty it is depends on the scores (see `fewslice.active.uncertainty`). Given 1 - D of a discriminator D
    that tells annotated units from others, it is the choice of VAAL (Sinha et al., 2019, arXiv 1904.00370).

    Source: Lewis and Gale, 1994, arXiv cmp-lg/9407020; Vepa et al., 2024, arXiv 2411.15763.

    Notes:
        Differs from the published code, which takes equal scores in the order of the file names.

    Example:
        >>> fewslice.select("uncertainty", scores=[0.1, 0.9, 0.4], budget=2).tolist()
        [1, 2]
    """
    candidates = query.candidates
    count = len(candidates) if query.has_rules else query.budget
    chosen = query.first_allowed(candidates[best_first(query.scores[candidates], count, rng=query.rng)])
    return Choice(chosen, query.scores[chosen].astype(float))
