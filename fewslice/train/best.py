"""Which validation of a training counts as the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

MINIMUM_IMPROVEMENT = 1e-7


class Best(NamedTuple):
    """Which validation chooses the best weights.

    Attributes:
        column: Of what `Plan.validate` returns.
        lowest: Whether the lowest value is the best, as of a loss.
        latest: Whether of equal values the last is the best; otherwise a later one must be better by more than 1e-7.
    """

    column: str = "val_dice"
    lowest: bool = False
    latest: bool = False


class BestTracker:
    """Remembers the best value of a run and where it was reached; equal after a resume.

    The first value other than NaN always counts; a later one must exceed the best by more than 1e-7. `last_step` moves
    with every update.

    Args:
        best: Asks for the lowest value, or the latest of equal ones.

    Example:
        >>> tracker = BestTracker()
        >>> [tracker.update(step, value) for step, value in ((0, 0.0), (50, 0.3), (100, 0.3))]
        [True, True, False]
        >>> tracker.best, tracker.best_step, tracker.last_step
        (0.3, 50, 100)
    """

    def __init__(self, best: Best | None = None):
        self._rule = best or Best()
        self.best = math.inf if self._rule.lowest else -math.inf
        self.best_step = -1
        self.last_step = -1

    def update(self, step: int, value: float) -> bool:
        """Takes the value of a step and returns whether it is the new best (then save the best weights)."""
        self.last_step = int(step)
        value = float(value)
        gain = self.best - value if self._rule.lowest else value - self.best
        if not (gain >= 0 if self._rule.latest else gain > MINIMUM_IMPROVEMENT):
            return False
        self.best, self.best_step = value, int(step)
        return True

    def state(self) -> dict[str, Any]:
        """Returns all that a resumed run needs, as plain numbers; `best` is infinite before the first number."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores `state()`; null (the JSON form of infinity) means that nothing was seen."""
        if state["best"] is not None:
            self.best = float(state["best"])
        self.best_step, self.last_step = int(state["best_step"]), int(state["last_step"])
