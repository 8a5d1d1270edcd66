"""The most uncertain units."""

from __future__ import annotations

from typing import Annotated

from fewslice.active.query import SCORES, Choice, Query, best_first, register
from fewslice.settings.declare import Later, Share


@register("uncertainty", needs=(SCORES,), obeys_rules=True)
def uncertainty(
    query: Query, *, shuffle_prop: Annotated[Share, Later("Share of the ranks that are shuffled.")] = 0.0
) -> Choice:
    """Takes the units with the largest scores, most uncertain first; ties are broken at random (seeded).

    Which uncertainty it is depends on the scores (see `fewslice.active.uncertainty`). Given 1 - D of a discriminator D
    that tells annotated units from others, it is the choice of VAAL (Sinha et al., 2019, arXiv 1904.00370).

    Args:
        shuffle_prop: Each place of the ranking is drawn with this probability, and the units of the drawn places change
            these at random, so that a batch is less alike.

    Source: Lewis and Gale, 1994, arXiv cmp-lg/9407020; Vepa et al., 2024, arXiv 2411.15763.

    Notes:
        `shuffle_prop` is that of baal (Atighehchian et al., 2020, arXiv 2006.09916).
        Differs from the published code, which takes equal scores in the order of the file names.

    Example:
        >>> fewslice.select("uncertainty", scores=[0.1, 0.9, 0.4], budget=2).tolist()
        [1, 2]
    """
    candidates = query.candidates
    count = len(candidates) if query.has_rules or shuffle_prop else query.budget
    ranked = candidates[best_first(query.scores[candidates], count, rng=query.rng)]
    if shuffle_prop:
        drawn = query.rng.random(len(ranked)) < shuffle_prop
        ranked[drawn] = query.rng.permutation(ranked[drawn])
    chosen = query.first_allowed(ranked)
    return Choice(chosen, query.scores[chosen].astype(float))
