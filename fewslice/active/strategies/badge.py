"""Units that are uncertain and differ from each other, by the gradients that they would cause."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fewslice.active.query import GRADIENTS, Choice, Query, best, register


@register("badge", needs=(GRADIENTS,))
def badge(query: Query, *, first: Literal["uniform", "largest"] = "uniform") -> Choice:
    """Draws the start of k-means++ on gradient embeddings of the unlabelled units.

    Each unit is drawn with a probability in proportion to its squared distance to the nearest one drawn before; where
    all these are 0, uniformly. The values are the distances. One distance per unit is held.

    Args:
        first: How the first unit is found: "uniform" as k-means++ says, or "largest", the longest gradient.

    Source: Ash et al., 2020, arXiv 1906.03671, algorithm 1.

    Notes:
        "largest" is what the published code does. Annotated units are not looked at, as in the paper.

    Example:
        >>> gradients = np.array([[0, 0], [0.1, 0], [5, 0], [5.1, 0], [0, 9], [0.1, 9]])
        >>> fewslice.select("badge", gradients=gradients, budget=3, first="largest").tolist()
        [5, 2, 0]
    """
    rng, rows = query.rng, np.asarray(query.gradients)[query.candidates]
    rows = rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
    lengths = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    is_free = np.ones(len(rows), bool)
    squares = np.full(len(rows), np.inf)
    chosen, values = [], []
    for step in range(query.budget):
        if step == 0:
            place = int(rng.integers(len(rows))) if first == "uniform" else best(lengths, rng=rng)
        else:
            total = squares.sum()
            odds = squares / total if total > 0 else is_free / is_free.sum()
            place = int(rng.choice(len(rows), p=odds))
        chosen.append(place)
        values.append(np.sqrt(squares[place]) if step else np.nan)
        is_free[place] = False
        np.minimum(squares, np.maximum(lengths + lengths[place] - 2.0 * (rows @ rows[place]), 0.0), out=squares)
        squares[~is_free] = 0.0
    return Choice(query.candidates[chosen], np.array(values))
