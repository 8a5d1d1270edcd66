"""Uncertain units drawn at random, so that a batch is not all alike."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fewslice.active.query import SCORES, Choice, Query, best_first, register
from fewslice.settings.declare import Positive


@register("power", needs=(SCORES,), obeys_rules=True)
def power(query: Query, *, beta: Positive = 1.0, kind: Literal["power", "softmax", "softrank"] = "power") -> Choice:
    """Draws units one after the other, the more uncertain the likelier; with the score `bald` it is PowerBALD.

    Args:
        beta: Large: nearly the most uncertain units. Small: nearly random ones.
        kind: What the probability of a unit is proportional to: its score to the power of beta; exp(beta x score); its
            rank to the power of -beta. With `power` units of a score of 0 or less come after all others.

    Source: Kirsch et al., 2023, arXiv 2106.12059 (stochastic batch acquisition).

    Notes:
        Differs from baal 2.1.0, which draws uniformly from all units where fewer than the budget have scores above 0.
        Its `temperature` is 1 / beta.

    Example:
        >>> fewslice.select("power", scores=[0.1, 0.9, 0.4, 0.0], budget=2, beta=50.0).tolist()
        [1, 2]
    """
    candidates = query.candidates
    keys = log_weights(query.scores[candidates], beta, kind) + query.rng.gumbel(size=len(candidates))
    chosen = query.first_allowed(candidates[best_first(keys, len(keys), rng=query.rng)])
    return Choice(chosen, query.scores[chosen].astype(float))


def log_weights(scores: np.ndarray, beta: float, kind: str) -> np.ndarray:
    """Returns (n,) logarithms of the weights by which (n,) scores are drawn.

    The largest sum of one of them and Gumbel noise is a draw, the next largest one a draw from the rest.
    """
    scores = np.asarray(scores, np.float64)
    if kind == "softmax":
        return beta * scores
    if kind == "softrank":  # equal scores share their mean rank
        ordered = np.sort(-scores)
        return -beta * np.log(
            (np.searchsorted(ordered, -scores, "left") + np.searchsorted(ordered, -scores, "right") + 1) / 2
        )
    with np.errstate(divide="ignore"):
        return beta * np.log(np.maximum(scores, 0.0))
