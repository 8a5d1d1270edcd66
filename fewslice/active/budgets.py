"""How many units are annotated after each round."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from fewslice.core.errors import ConfigError


def cumulative_fractions(fractions: Sequence[float], *, float_sums: bool = False) -> tuple[float, ...]:
    """Returns the share of the pool that is annotated after each round.

    Args:
        fractions: Share of the pool that each round adds.
        float_sums: See `cumulative_budgets`.

    Raises:
        ConfigError: see `cumulative_budgets`.
    """
    if float_sums:
        _check(fractions)
        return tuple(itertools.accumulate(map(float, fractions)))
    return tuple(float(share) for share in _exact(fractions))


def cumulative_budgets(fractions: Sequence[float], count: int, *, float_sums: bool = False) -> tuple[int, ...]:
    """Returns how many of `count` units are annotated after each round, rounded down.

    Args:
        fractions: Share of the pool that each round adds, for instance (0.01, 0.01, 0.05). They add up to at most 1.
        count: Units in the pool.
        float_sums: Add the shares up and multiply as binary floating-point numbers, as published.

    Raises:
        ConfigError: a share that is negative or not finite, shares above 1 in sum, no unit.

    Source:
        Vepa et al., 2024, https://arxiv.org/abs/2411.15763.

    Notes:
        Shares count as the decimal numbers that they are written as: 0.1 eight times is 0.8, and of 10 units that is 8.
        The published code adds floats, which makes 0.7999999999999999 of it, and buys 7; `float_sums` does the same.
        Of the published rounds only ten times 10 % differ: with floats one unit is never bought. Five times 1 %, three
        times 5 % and 20 %, or four times 10 %, buy the same number either way, of any pool up to 25 000 units.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"The pool must hold at least one unit. Received: {count!r}")
    if float_sums:
        return tuple(min(count, int(count * share)) for share in cumulative_fractions(fractions, float_sums=True))
    return tuple(math.floor(count * share) for share in _exact(fractions))


def training_shares(bought: Sequence[float], extra: Sequence[float]) -> tuple[float, ...]:
    """Returns the share of the whole schedule that each round trains for: all that was bought or added so far.

    Args:
        bought: Share of the pool that each round buys.
        extra: Share that each round adds to the training of itself and later ones. The sums may be above 1.
    """
    exact = [Fraction(repr(float(share))) for share in (*bought, *extra)]
    added = (one + other for one, other in zip(exact[: len(bought)], exact[len(bought) :], strict=True))
    return tuple(float(share) for share in itertools.accumulate(added))


def _exact(fractions: Sequence[float]) -> list[Fraction]:
    return list(itertools.accumulate(_check(fractions)))


def _check(fractions: Sequence[float]) -> list[Fraction]:
    """Returns the shares as the decimal numbers that they are written as."""
    bad = [share for share in fractions if isinstance(share, bool) or not (math.isfinite(share) and share >= 0)]
    if bad:
        raise ConfigError(f"The share of the pool that a round adds must be 0 or more. Received: {bad[0]!r}")
    exact = [Fraction(repr(float(share))) for share in fractions]
    if sum(exact) > 1:
        raise ConfigError(f"The rounds add up to {float(sum(exact)):g} of the pool; it must be at most 1.")
    return exact
