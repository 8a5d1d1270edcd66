"""The one contract of all strategies: what they are given, and what is checked before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from fewslice.active.units import Pool
from fewslice.core.errors import ConfigError
from fewslice.core.options import Known, checked_options, options_of
from fewslice.core.registry import Registry

STRATEGIES = Registry("strategy", "fewslice.active.strategies")
_ROWS = 4096  # looked at together
FEATURES, SCORES, PIXELS, MASKS, GRADIENTS = "features", "scores", "pixels", "masks", "gradients"


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
    """One purchase.

    Attributes:
        pool: All units.
        is_labelled: (N,) bool, units that are annotated already.
        budget: Units to choose, at least 0.
        rng: Draws everything random. The same generator gives the same choice.
        features: (N, D) float embeddings, or None.
        scores: (N,) float uncertainty, larger is more uncertain, or None. Those of labelled units are not looked at.
        pixels: (N, H, W) or (N, H, W, channels) images of one size, 256 x 256 in the scripts, maybe memory-mapped; or a
            `PixelStore`, which is faster; or None.
        masks: (N, H, W) annotation of each unit as it would be bought (for instance its scribble) with the ignore
            value where nothing is drawn, maybe memory-mapped, or None.
        gradients: (N, E) gradient embeddings of the present network, for BADGE, or None.
        ignore_value: Value of `masks` where nothing is annotated.
    """

    pool: Pool
    is_labelled: np.ndarray
    budget: int
    rng: np.random.Generator
    features: np.ndarray | None = None
    scores: np.ndarray | None = None
    pixels: np.ndarray | None = None
    masks: np.ndarray | None = None
    gradients: np.ndarray | None = None
    ignore_value: int = 4

    @property
    def candidates(self) -> np.ndarray:
        """(U,) int64 indices of the units that can be chosen, ascending."""
        return np.flatnonzero(~self.is_labelled)

    @property
    def labelled(self) -> np.ndarray:
        """(L,) int64 indices of the units that are annotated already, ascending."""
        return np.flatnonzero(self.is_labelled)


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen.

    Attributes:
        indices: (budget,) int64 pool indices in the order of choice, distinct, none labelled.
        values: (budget,) float64 what the strategy found in each at that moment (a distance, an uncertainty), NaN if
            it says nothing.
    """

    indices: np.ndarray
    values: np.ndarray


Strategy = Callable[..., "Sequence[int] | Choice"]


def register(
    name: str, *, needs: Sequence[str] = (), options: type | None = None, needs_labelled: bool = False
) -> Callable[[Strategy], Strategy]:
    """Returns a decorator that makes a function a strategy.

    The function gets the query and its own options, and returns exactly `query.budget` distinct pool indices of
    unlabelled units in order of choice, or a `Choice`. It is never called with a budget of 0 or one that takes all.

    Args:
        name: What users call it.
        needs: Attributes of `Query` that must not be None: "features", "scores", "pixels", "masks", "gradients".
        options: A dataclass of its options: the function gets an instance as second argument. None: its options are
            its parameters that can be given by keyword only. Either way annotations are their types.
        needs_labelled: Whether it needs at least one annotated unit, so that it cannot make the first purchase.
    """

    def decorate(function: Strategy) -> Strategy:
        function.needs = tuple(needs)
        function.needs_labelled = needs_labelled
        function.options_class = options
        return STRATEGIES.register(name)(function)

    return decorate


def strategy_options(name: str) -> Known:
    """Returns the options of a strategy, {option: (type, default)}, types as annotated (`float | None`, ...).

    Raises:
        ConfigError: unknown strategy.
    """
    strategy = STRATEGIES.get(name)
    return options_of(strategy.options_class or strategy)


def check_options(name: str, options: Mapping[str, Any] | None = None) -> tuple[tuple, dict[str, Any]]:
    """Checks the options of a strategy before anything is computed.

    Returns:
        What the strategy is called with beside the query: positional and keyword arguments.

    Raises:
        ConfigError: unknown strategy, unknown options, values of a wrong type; or, where the strategy has a class of
            options, values that make no sense.
    """
    checked = checked_options(f"option of strategy {name!r}", strategy_options(name), options or {})
    options_class = STRATEGIES.get(name).options_class
    return ((), checked) if options_class is None else ((options_class(**checked),), {})


def select(name: str, query: Query, options: Mapping[str, Any] | None = None) -> Choice:
    """Chooses units to annotate.

    A budget of 0 chooses nothing. A budget that is not below the number of unlabelled units takes all of them, those
    that the strategy would rank have no order then, and a warning says so if it is larger.

    Args:
        name: A registered strategy.
        query: What it is given.
        options: Its own options.

    Raises:
        ConfigError: unknown strategy or option; something it needs is missing, has the wrong length or is not finite.
        RuntimeError: the strategy broke the contract.
    """
    strategy = STRATEGIES.get(name)
    positional, by_keyword = check_options(name, options)
    _check(name, strategy, query)
    candidates = query.candidates
    if query.budget >= len(candidates):
        if query.budget > len(candidates):
            logging.warning(
                "The budget of %d is larger than the %d units that are left; all are taken.",
                query.budget,
                len(candidates),
            )
        return Choice(candidates, np.full(len(candidates), np.nan))
    if query.budget == 0:
        return Choice(np.empty(0, np.int64), np.empty(0))
    return _checked(name, query, strategy(query, *positional, **by_keyword))


def _check(name: str, strategy: Strategy, query: Query) -> None:
    needs, count = strategy.needs, len(query.pool)
    if query.is_labelled.shape != (count,) or query.is_labelled.dtype != bool:
        raise ValueError(f"`is_labelled` must be ({count},) bool. Received: {query.is_labelled.shape}")
    if query.budget < 0:
        raise ConfigError(f"The budget must not be negative. Received: {query.budget}")
    for need in needs:
        values = getattr(query, need)
        if values is None:
            raise ConfigError(f"The strategy {name!r} needs {need}, of which there are none. {_REMEDIES[need]}")
        if len(values) != count:
            raise ConfigError(f"The pool has {count} units, but there are {need} of {len(values)}.")
    if strategy.needs_labelled and query.budget and not query.is_labelled.any():
        raise ConfigError(
            f"The strategy {name!r} needs at least one annotated unit. Begin with a round of another strategy, for "
            "instance random, or name what is annotated already (select_slices.py: --labelled)."
        )
    for need in set(needs) & {FEATURES, SCORES, GRADIENTS}:
        values = getattr(query, need)
        is_bad = ~np.concatenate([_are_finite(values[start : start + _ROWS]) for start in range(0, count, _ROWS)])
        if need == SCORES:
            is_bad &= ~query.is_labelled
        bad = np.flatnonzero(is_bad)
        if len(bad):
            raise ConfigError(
                f"The {need} of {len(bad)} units are not finite, for instance of {query.pool.unit_ids[bad[0]]}. "
                "Look at these images, or at the network that made them."
            )


def _are_finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return np.isfinite(values.reshape(len(values), -1)).all(axis=1)


_REMEDIES = {
    FEATURES: "Give an encoder.",
    SCORES: "Give a segmentation network, or begin with a strategy that needs none.",
    PIXELS: "Give the images.",
    MASKS: "Give scribbles, or use a strategy without masks.",
    GRADIENTS: "Give a segmentation network, or begin with a strategy that needs none.",
}


def _checked(name: str, query: Query, found: Sequence[int] | Choice) -> Choice:
    if not isinstance(found, Choice):
        indices = np.asarray(found, np.int64)
        found = Choice(indices, np.full(len(indices), np.nan))
    indices = found.indices
    problem = ""
    if indices.shape != (query.budget,) or found.values.shape != indices.shape:
        problem = f"returned {indices.shape} indices for a budget of {query.budget}"
    elif len(np.unique(indices)) < len(indices):
        problem = "chose a unit twice"
    elif indices.min() < 0 or indices.max() >= len(query.pool):
        problem = f"chose an index outside the pool of {len(query.pool)}"
    elif query.is_labelled[indices].any():
        problem = "chose a unit that is annotated already"
    if problem:
        raise RuntimeError(f"The strategy {name!r} {problem}.")
    return found
