"""How many units are annotated after each round.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763: rounds add shares of the pool. They may add numbers of units, too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from fewslice.core.errors import ConfigError


def cumulative_budgets(amounts: Sequence[float | int], count: int) -> tuple[int, ...]:
    """Returns how many of `count` units are annotated after each round, rounded down.

    Args:
        amounts: What each round adds: all shares of the pool (floats, such as 0.05), or all numbers of units (ints).
        count: Units in the pool.

    Raises:
        ConfigError: an amount that is negative or not finite, more than the pool in sum, no unit.

    Notes:
        Shares count as the decimal numbers that they are written as: 0.1 eight times is 0.8, and of 10 units that is 8.
        The published code adds floats, which makes 0.7999999999999999 of it, and annotates 7. Of the published rounds
        only ten times 10 % differ: with floats one unit is never annotated. Five times 1 %, three times 5 % and 20 %,
        or four times 10 %, give the same number either way, of any pool up to 25 000 units.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"The pool must hold at least one unit. Received: {count!r}")
    return tuple(math.floor(count * share) for share in cumulative_shares(amounts, count))


def cumulative_shares(amounts: Sequence[float | int], count: int | None = None) -> list[Fraction]:
    """Returns the exact share of the pool that is annotated after each round.

    Args:
        amounts: See `cumulative_budgets`.
        count: Units in the pool; only needed where amounts are numbers of units.

    Raises:
        ConfigError: see `cumulative_budgets`.
    """
    bad = [one for one in amounts if isinstance(one, bool) or not (math.isfinite(one) and one >= 0)]
    if bad:
        raise ConfigError(f"What a round adds must be 0 or more. Received: {bad[0]!r}")
    are_numbers = {isinstance(one, int) for one in amounts}
    if len(are_numbers) > 1:
        raise ConfigError(f"Rounds must add all shares or all numbers of units. Received: {list(amounts)}")
    if are_numbers == {True}:
        if count is not None and sum(amounts) > count:
            raise ConfigError(f"The rounds add up to {sum(amounts)} units, and the pool has {count}.")
        return [Fraction(total, count or max(sum(amounts), 1)) for total in itertools.accumulate(amounts)]
    shares = list(itertools.accumulate(Fraction(repr(float(one))) for one in amounts))
    if shares[-1:] > [1]:
        raise ConfigError(f"The rounds add up to {float(shares[-1]):g} of the pool; it must be at most 1.")
    return shares
