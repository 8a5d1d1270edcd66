"""The contract of all strategies: their input, and the checks before and after."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from fewslice.active.units import Box, Units
from fewslice.core.errors import ConfigError
from fewslice.core.options import Known, checked_options, options_of
from fewslice.core.registry import Registry
from fewslice.settings.experiment import PASS_MEANS

STRATEGIES = Registry("strategy", "fewslice.active.strategies")
_ROWS = 4096  # looked at together
FEATURES, SCORES, PIXELS, MASKS, GRADIENTS = "features", "scores", "pixels", "masks", "gradients"
CLASSES = "classes"  # made where `per_label` asks for it


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Query:
    """Input of a strategy.

    Attributes:
        is_labelled: (N,) bool, units that are annotated.
        budget: Units to choose, at least 0.
        rng: Draws everything random; a seed makes it. The same generator gives the same choice.
        ignore_value: Value of `masks` where nothing is annotated.
        features: (N, D) float embeddings.
        scores: (N,) float uncertainty, larger is more uncertain. Those of labelled units are not looked at.
        pixels: (N, H, W) or (N, H, W, channels) images of one size, 256 x 256 in the scripts, maybe memory-mapped; or a
            `PixelStore`, which is faster.
        masks: (N, H, W) annotation of each unit as an annotator would draw it (for instance its scribble) with the
            ignore value where nothing is drawn, maybe memory-mapped.
        gradients: (N, E) gradient embeddings of the present network, for BADGE.
        pass_means: (N, T, C) mean class probabilities of each unit in each dropout pass, for BatchBALD.
        annotated: Boxes that share voxels with no unit that may be chosen; units that overlap them are unavailable.
        case_cap: Units of one case that may be chosen at most; None for any number.
        per_label: Units of each image-level class that come first, see `balanced`; 0 for none.
        classes: (N,) image-level class of each unit as far as it is known or predicted; default: those of the pool.
    """

    pool: Units
    is_labelled: np.ndarray
    budget: int
    rng: np.random.Generator | int
    ignore_value: int
    features: np.ndarray | None = None
    scores: np.ndarray | None = None
    pixels: np.ndarray | None = None
    masks: np.ndarray | None = None
    gradients: np.ndarray | None = None
    pass_means: np.ndarray | None = None
    annotated: Sequence[Box] = ()
    case_cap: int | None = None
    per_label: int = 0
    classes: np.ndarray | None = None

    def __post_init__(self):
        if isinstance(self.rng, (int, np.integer)):
            object.__setattr__(self, "rng", np.random.default_rng(self.rng))

    @functools.cached_property
    def candidates(self) -> np.ndarray:
        """(U,) int64 indices of the units that can be chosen, ascending."""
        is_taken = self.is_labelled
        if self.pool.can_overlap and len(self.annotated):
            is_taken = is_taken | self.pool.overlapping(self.annotated)
        return np.flatnonzero(~is_taken)

    @property
    def labelled(self) -> np.ndarray:
        """(L,) int64 indices of the units that are annotated, ascending."""
        return np.flatnonzero(self.is_labelled)

    @property
    def has_rules(self) -> bool:
        """Whether more counts than the rank: units that overlap, a cap per case, balanced classes."""
        return self.pool.can_overlap or self.case_cap is not None or self.per_label > 0

    def first_allowed(self, ranked: np.ndarray) -> np.ndarray:
        """Returns the first `budget` candidates that may be chosen together; fewer where no more may.

        Args:
            ranked: (n,) int64 candidates, the best first.
        """
        left = self.balanced(np.asarray(ranked, np.int64))
        if not self.has_rules:
            return left[: self.budget]
        chosen: list[int] = []
        while len(left) and len(chosen) < self.budget:
            chosen.append(int(left[0]))
            left = self.allowed_after(left, chosen)
        return np.array(chosen, np.int64)

    def balanced(self, ranked: np.ndarray) -> np.ndarray:
        """Returns ranked candidates with the first `per_label` of each image-level class in front, class by class.

        So a budget of `per_label` times the classes takes as many of each. What a class that runs out lacks, and what
        is left of the budget, is filled by rank from all others.

        Raises:
            ConfigError: units without such classes.
        """
        if not self.per_label:
            return ranked
        classes = self.pool.labels if self.classes is None else self.classes
        if classes is None:
            raise ConfigError(
                "`per_label` needs units with an image-level class. Name the fact that holds it, for instance "
                "`unit: {name: image, label: group}`."
            )
        labels = classes[ranked]
        front = np.concatenate([np.flatnonzero(labels == label)[: self.per_label] for label in np.unique(labels)])
        return ranked[np.concatenate([front, np.setdiff1d(np.arange(len(ranked)), front)])]

    def allowed_after(self, left: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
        """Returns which of the units `left`, allowed before, may still be chosen after the last of `chosen`."""
        box = self.pool.box(chosen[-1])
        left = left[left != chosen[-1]]
        if self.pool.can_overlap:
            left = left[~self.pool.overlapping([box])[left]]
        if self.case_cap is not None and (self.pool.case_of(np.asarray(chosen)) == box.case).sum() >= self.case_cap:
            left = left[self.pool.case_of(left) != box.case]
        return left


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """Chosen units, in order, with their values.

    Attributes:
        indices: (budget,) int64 pool indices in the order of choice, distinct, none labelled.
        values: (budget,) float64 distance, uncertainty or other merit of each at that moment; NaN where there is none.
    """

    indices: np.ndarray
    values: np.ndarray

    @classmethod
    def unranked(cls, indices: Sequence[int]) -> Choice:
        """Returns a choice without values."""
        return cls(np.asarray(indices, np.int64), np.full(len(indices), np.nan))


Strategy = Callable[..., "Sequence[int] | Choice"]


def register(
    name: str,
    *,
    needs: Sequence[str] = (),
    options: type | None = None,
    needs_labelled: bool = False,
    obeys_rules: bool = False,
) -> Callable[[Strategy], Strategy]:
    """Returns a decorator that makes a function a strategy.

    The function gets the query and its own options, and returns exactly `query.budget` distinct pool indices of
    unlabelled units in order of choice, or a `Choice`. It is never called with a budget of 0 or one that takes all.

    Args:
        name: What users call it.
        needs: Attributes of `Query` that must not be None: "features", "scores", "pixels", "masks", "gradients",
            "pass_means".
        options: A dataclass of its options: the function gets an instance as second argument. None: its options are
            its parameters that can be given by keyword only. Either way annotations are their types.
        needs_labelled: Whether it needs at least one annotated unit, so that it cannot make the first choice.
        obeys_rules: Whether it chooses by `Query.first_allowed`, so that it also serves units that overlap and a cap
            per case. It may then return fewer units than the budget.
    """
    facts = {"needs": tuple(needs), "needs_labelled": needs_labelled, "obeys_rules": obeys_rules}
    return STRATEGIES.register(name, options_class=options, **facts)


def strategy_options(name: str) -> Known:
    """Returns the options of a strategy, {option: (type, default)}. Raises `ConfigError` if it is unknown."""
    strategy = STRATEGIES.get(name)
    return options_of(strategy.options_class or strategy)


def check_options(name: str, options: Mapping[str, Any] | None = None) -> tuple[tuple, dict[str, Any]]:
    """Returns the positional and keyword arguments of a strategy beside the query.

    Raises:
        ConfigError: unknown strategy or options, wrong values.
    """
    checked = checked_options(f"option of strategy {name!r}", strategy_options(name), options or {})
    options_class = STRATEGIES.get(name).options_class
    return ((), checked) if options_class is None else ((options_class(**checked),), {})


def select(name: str, query: Query, options: Mapping[str, Any] | None = None) -> Choice:
    """Chooses units to annotate.

    A budget of 0 chooses nothing. A budget that is not below the number of unlabelled units takes all of them, without
    a ranking, and a warning says so if it is larger.

    Raises:
        ConfigError: unknown strategy or option; something it needs is missing, has the wrong length or is not finite.
        RuntimeError: the strategy broke the contract.
    """
    strategy = STRATEGIES.get(name)
    positional, by_keyword = check_options(name, options)
    _check(name, strategy, query)
    candidates = query.candidates
    if query.budget > len(candidates):
        text = "The budget of %d is larger than the %d units that are left; all are taken."
        logging.warning(text, query.budget, len(candidates))
    if query.budget >= len(candidates) and not query.has_rules:
        return Choice.unranked(candidates)
    if query.budget == 0 or not len(candidates):
        return Choice.unranked([])
    return _checked(name, query, strategy(query, *positional, **by_keyword))


def _check(name: str, strategy: Strategy, query: Query) -> None:
    """Refuses input that the strategy cannot work with."""
    needs, count = strategy.needs, len(query.pool)
    if query.is_labelled.shape != (count,) or query.is_labelled.dtype != bool:
        raise ValueError(f"`is_labelled` must be ({count},) bool. Received: {query.is_labelled.shape}")
    if query.budget < 0:
        raise ConfigError(f"The budget must not be negative. Received: {query.budget}")
    for need in needs:
        if getattr(query, need) is None:
            raise lacking(name, need)
    for need in _REMEDIES:
        values = getattr(query, need)
        if values is not None and len(values) != count:
            raise ConfigError(f"The pool has {count} units, but there are {need} of {len(values)}.")
    if query.has_rules and not strategy.obeys_rules:
        known = ", ".join(other for other in STRATEGIES.names() if STRATEGIES.get(other).obeys_rules)
        raise ConfigError(
            f"The strategy {name!r} obeys no rules: overlapping units, `case_cap`, `per_label`. Those that do: {known}."
        )
    if strategy.needs_labelled and query.budget and not query.is_labelled.any():
        raise ConfigError(
            f"The strategy {name!r} needs at least one annotated unit. Begin with a round of another strategy, for "
            "instance random, or name what is annotated already (select_slices.py: --labelled)."
        )
    for need in set(needs) & {FEATURES, SCORES, GRADIENTS, PASS_MEANS}:
        values = getattr(query, need)
        is_bad = ~np.concatenate([np.isfinite(block).all(axis=1) for block in _blocks(values)])
        bad = np.flatnonzero(is_bad & ~query.is_labelled if need == SCORES else is_bad)
        if len(bad):
            raise ConfigError(
                f"The {need} of {len(bad)} units are not finite, for instance of {query.pool.name(bad[0])}. "
                "Look at these images, or at the network that made them."
            )
        if query.budget and not tells_apart(values if need != SCORES else values[~query.is_labelled]):
            text = "The %s of all units of the pool are equal: this choice by %s means no more than a random one. %s"
            logging.warning(text, need, name, "Look at the images, or at the network that made them.")


def tells_apart(values: np.ndarray) -> bool:
    """Whether the rows of (N, ...) numbers differ by more than rounding; one alone, or none, does."""
    first = np.asarray(values[:1], np.float64).reshape(1, -1)
    allowed = 1e-6 * max(float(np.abs(first).max(initial=0.0)), 1e-30)
    return len(values) < 2 or any((np.abs(block - first) > allowed).any() for block in _blocks(values))


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    return [np.reshape(values[at : at + _ROWS], (-1, np.size(values[0]))) for at in range(0, len(values), _ROWS)]


_NETWORK = (
    "Give a segmentation network (select_slices.py: --network=<run folder>, for instance of tr_baseline.py; Python: "
    "its `{}`), or begin with a strategy that needs none, such as kcenter."
)
_REMEDIES = {
    FEATURES: "Give an encoder (select_slices.py: --encoder=<run folder>, for instance of "
    "pretr_encoder_group_contrastive_loss.py, which needs no labels, or --encoder=pixels; Python: `embeddings`), or "
    "choose a strategy that needs none, such as random or equispaced.",
    SCORES: _NETWORK.format(SCORES),
    PIXELS: "Give the images (Python: `pixels`).",
    MASKS: "Give scribbles (Python: `masks`), or use a strategy without masks.",
    GRADIENTS: _NETWORK.format(GRADIENTS),
    PASS_MEANS: _NETWORK.format(PASS_MEANS),
}


def lacking(name: str, need: str) -> ConfigError:
    """Returns the error that a strategy lacks something it needs."""
    return ConfigError(f"The strategy {name!r} needs {need}, of which there are none. {_REMEDIES[need]}")


def _checked(name: str, query: Query, choice: Sequence[int] | Choice) -> Choice:
    """Returns the choice. Refuses one that breaks the contract."""
    choice = choice if isinstance(choice, Choice) else Choice.unranked(choice)
    indices = choice.indices
    problem = ""
    if choice.values.shape != indices.shape or (len(indices) != query.budget and not query.has_rules):
        problem = f"returned {indices.shape} indices for a budget of {query.budget}"
    elif len(np.unique(indices)) < len(indices):
        problem = "chose a unit twice"
    elif len(indices) and (indices.min() < 0 or indices.max() >= len(query.pool)):
        problem = f"chose an index outside the pool of {len(query.pool)}"
    elif query.is_labelled[indices].any():
        problem = "chose a unit that is annotated already"
    elif query.has_rules:
        problem = _broken_rule(query, indices)
    if problem:
        raise RuntimeError(f"The strategy {name!r} {problem}.")
    if len(indices) < query.budget:
        logging.warning("Only %d of %d units can be chosen together; no more are left.", len(indices), query.budget)
    return choice


def _broken_rule(query: Query, indices: np.ndarray) -> str:
    """Returns the rule that a choice breaks, "" for none."""
    left = query.candidates
    for place, unit in enumerate(indices):
        if not (left == unit).any():
            return f"chose {query.pool.name(unit)}, which overlaps an annotated or chosen unit or exceeds the case cap"
        left = query.allowed_after(left, indices[: place + 1])
    if len(left) and len(indices) < query.budget:
        return f"chose {len(indices)} units for a budget of {query.budget} although more may be chosen"
    return ""


def best_first(values: np.ndarray, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Returns the (count,) int64 places of the largest of (n,) values, largest first; equal values in random order."""
    order = rng.permutation(len(values))
    return order[np.argsort(-np.asarray(values)[order], kind="stable")][:count]


def best(values: np.ndarray, *, rng: np.random.Generator, rtol: float = 0.0) -> int:
    """Returns the place of the largest of (n,) values; ties are broken at random.

    Values that lie below the largest by at most the part `rtol` of it count as equal (rounding). Minus infinity is
    never chosen while there is anything else.
    """
    top = values.max()
    limit = top - rtol * abs(top) if np.isfinite(top) else top
    equals = np.flatnonzero(values >= limit)
    return int(equals[0] if len(equals) == 1 else rng.choice(equals))
