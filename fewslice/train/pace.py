"""How long a training takes on this machine: measured in its first steps, and what `--hours` makes of it.

The number of steps that `--hours` leads to is found once and written down, so that a repeated command trains as long
whatever the clock says then.
"""

from __future__ import annotations

import dataclasses
import os
import time

from absl import logging

from fewslice.core import files
from fewslice.core.console import duration
from fewslice.core.run import Run

RECORD = "hours.json"  # in logs/: hours -> the number of steps that they led to
_FIRST, _COUNT = 4, 10  # steps that are not measured, since the first ones compile; steps that are
_LONG_S, _WORTH_TELLING_S = 1800.0, 10.0


class Pace:
    """Times the steps of a process. It reads the clock after a step, whose loss has been waited for anyway."""

    def __init__(self):
        self._last, self._count, self._sum = 0.0, 0, 0.0

    @property
    def seconds(self) -> float:
        """The mean of a step, from the fifth on; 0.0 until ten have been measured."""
        measured = self._count - _FIRST
        return self._sum / measured if measured >= _COUNT else 0.0

    def start(self) -> None:
        """Begins with a step: a validation or a save before it does not count."""
        self._last = time.perf_counter()

    def tick(self) -> bool:
        """Counts a step that has just ended; returns True once, when enough are measured."""
        before, self._last = self._last, time.perf_counter()
        self._count += 1
        self._sum += self._last - before if self._count > _FIRST else 0.0
        return self._count == _FIRST + _COUNT


@dataclasses.dataclass(frozen=True)
class Following:
    """What the command `name` trains after the present training: steps, or seconds where these are known."""

    name: str
    steps: int = 0
    seconds: float = 0.0

    def left(self, own: float, step: float) -> str:
        """Returns how long the whole takes if the present training takes `own` seconds more and a step `step`."""
        total = own + self.seconds + self.steps * step
        return f"about {duration(total)} of the {self.name}" + " at this pace" * bool(self.steps)


def of_chain() -> Following | None:
    """Returns what chain.sh says in FEWSLICE_CHAIN, such as "20002 steps" or "1.5 hours"; None outside of a chain."""
    amount, _, unit = os.environ.get("FEWSLICE_CHAIN", "").partition(" ")
    if unit == "hours":
        return Following("chain", seconds=3600 * float(amount))
    return Following("chain", steps=int(amount)) if unit else None


def estimate(
    step: float, left: int, n_iter: int, segment: int, *, following: Following | None, more: str, can_be_chosen: bool
) -> str:
    """Returns the sentences that a training says after its first steps; "" for a matter of seconds.

    Args:
        step: Seconds of a step.
        left: Steps to come, of `n_iter`.
        segment: Steps between two validations; a shorter choice is a multiple of it.
        more: What comes beside these steps, in words.
        can_be_chosen: Whether flags choose the length.
    """
    total = left * step
    if total < _WORTH_TELLING_S:
        return ""
    text = f"{step:.3g} s a step: about {duration(total)} for the {left} steps left of {n_iter}{more}."
    hours = 1 if total > 1.5 * 3600 else 0.25
    steps = int(hours * 3600 / step) // segment * segment
    if total > _LONG_S and can_be_chosen and steps > n_iter - left:
        shorter = f"--hours={hours} or --n_iter={steps}, which take about {duration(hours * 3600)} in all"
        if following:
            shorter = f"--hours={hours}, which all its trainings share"
        text += f" Shorter: Ctrl-C, and the same command with {shorter}."
    return text + (f" {following.left(total, step).capitalize()}." if following else "")


def steps_for(hours: float, step: float, *, check: float, segment: int, tests: float, done: int) -> int:
    """Returns the number of steps that take so long, at least `done`; whole segments where it is one or more.

    Args:
        hours: For everything, from the first step on.
        step, check: Seconds of a step and of a validation.
        segment: Steps between two validations.
        tests: How many validations the test at the end is as long as.

    >>> steps_for(1.0, 0.5, check=5.0, segment=50, tests=20.0, done=50)
    5800
    """
    steps = int((hours * 3600 - tests * check) / (step + check / segment))
    return max(steps // segment * segment or steps, done)


def _keep(run: Run, steps: int) -> None:
    """Makes a number of steps the run's, and tells chain.sh, where others shall be as long."""
    run.n_iter = steps
    if path := os.environ.get("FEWSLICE_CHAIN_STEPS"):
        files.write_text(path, str(steps))


def _known(run: Run) -> dict[str, int]:
    path = run.logs / RECORD
    return files.read_record(path) if path.exists() else {}


def recall(run: Run, hours: float) -> int | None:
    """Returns the number of steps that so many hours led to in this run, and makes it the run's; None if none yet."""
    known = _known(run).get(f"{hours:g}")
    if known is not None:
        _keep(run, files.checked(known, int, run.logs / RECORD, name=f"{hours:g}"))
    return known


def record(run: Run, hours: float, steps: int, seconds: float) -> None:
    """Writes down the number of steps that so many hours lead to, for every later call and stage."""
    files.write_json(run.logs / RECORD, _known(run) | {f"{hours:g}": steps})
    _keep(run, steps)
    run.write_config()
    text = "--hours=%g: %.3g s a step with its share of validations, so %d steps; the same command takes as many again."
    logging.info(text, hours, seconds, steps)
