"""Training that resumes bit for bit after any interruption.

`fit` is called for one segment of steps at a time (`val_step_update` of them). Between two segments the network is
validated, and weights, optimizer, random state, averages and the log are written as one file. A repeated command
resumes from that file; since batches depend on the step's number only, the weights end up the same as without the
interruption.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from absl import logging

from fewslice.core import backend, checkpoint, files
from fewslice.core.console import duration
from fewslice.core.done import BEST, LAST, STATE
from fewslice.core.errors import ConfigError, DataError, TrainingError
from fewslice.core.run import Run
from fewslice.data.batches.steps import StepBatches
from fewslice.train import pace
from fewslice.train.callbacks import MovingAverage, StepMonitor, StopSignal, swapped_weights, write_tensorboard
from models import transfer

MINIMUM_IMPROVEMENT = 1e-7
_POWER = 0.9  # of the learning rate that falls
_FIRST, _FINAL = ("step", "loss"), ("seconds", "steps_per_s")  # columns of train.csv


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; the state has been saved."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Batches, length and validation of one training.

    Attributes:
        make_batch: Step number -> (inputs, targets), the same for the same step.
        describe_batch: Step number -> what the batch was made of, for the record of a divergence.
        segment: Steps between two validations, saves and lines of the log.
        validate: Called after each segment; returns columns for the log.
        chooses: Which of these columns chooses the best weights; as long as it was NaN throughout, the last ones count
            as the best. Where it ends in "loss" the lowest value is the best, of equal ones the last.
        monitor: Called after each segment; returns further columns for the log.
        before_segment: Called before each segment and after a resume with the number of steps done and a function that
            tells whether the user asked to stop (then it may raise `Interrupted`); what it changes must depend on that
            number and on saved files only.
        average_decay: Decay per step of an exponential average of the weights; 0 keeps none. Where there is one, it is
            what is validated, and what the best and the last weights are taken from.
        kept: The part of the network whose weights are averaged and written; None is all of it.
        writes_last: Whether the last weights are written after each validation too, not only at the end.
        keeps_last: Whether the last weights count as the best, whatever validation says.
        decays: Whether the learning rate falls, by (1 - step / n_iter)^0.9, from one segment to the next.
        can_be_extended: Whether a run with a larger `n_iter` may resume from here. Then a last segment that is shorter
            than the others does not choose the best weights, since a longer run would not look at that step.
        hours: Hours that the training should take here, 0 for `n_iter` steps. They become a number of steps once, which
            `pace.record` writes down.
        tests: How many validations the test after the training is as long as.
        following: What the same command trains afterwards; default: what chain.sh says.
    """

    make_batch: Callable[[int], tuple[Any, Any]]
    describe_batch: Callable[[int], Any]
    n_iter: int
    segment: int
    validate: Callable[[], dict[str, float]] | None = None
    chooses: str = "val_dice"
    monitor: Callable[[], dict[str, float]] | None = None
    before_segment: Callable[[int, Callable[[], bool]], None] | None = None
    average_decay: float = 0.0
    tensorboard: bool = False
    kept: keras.Model | None = None
    writes_last: bool = False
    keeps_last: bool = False
    decays: bool = False
    can_be_extended: bool = True
    hours: float = 0.0
    tests: float = 0.0
    following: pace.Following | None = dataclasses.field(default_factory=pace.of_chain)


class BestTracker:
    """Remembers the best value of a run and where it was reached; equal after a resume.

    The first value other than NaN always counts; a later one must exceed the best by more than 1e-7. `last_step` moves
    with every update.

    Args:
        is_loss: The lowest value is the best, of equal ones the last.

    Example:
        >>> tracker = BestTracker()
        >>> [tracker.update(step, value) for step, value in ((0, 0.0), (50, 0.3), (100, 0.3))]
        [True, True, False]
        >>> tracker.best, tracker.best_step, tracker.last_step
        (0.3, 50, 100)
    """

    def __init__(self, is_loss: bool = False):
        self._is_loss = is_loss
        self.best = math.inf if is_loss else -math.inf
        self.best_step = -1
        self.last_step = -1

    def update(self, step: int, value: float) -> bool:
        """Takes the value of a step and returns whether it is the new best (then save the best weights)."""
        self.last_step = int(step)
        value = float(value)
        if not (value <= self.best if self._is_loss else value - self.best > MINIMUM_IMPROVEMENT):
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


class Trainer:
    """Trains one compiled network in one run directory."""

    def __init__(self, run: Run, model: keras.Model, plan: Plan):
        self.run = run
        self.model = model
        self.plan = plan
        self.step = 0
        self.n_iter: float = plan.n_iter  # infinite until the first steps have told what `plan.hours` mean
        self.tracker = BestTracker(plan.chooses.endswith("loss"))
        self.rows: list[dict[str, Any]] = []
        self.average: MovingAverage | None = None
        self._partial = {"sums": {}, "steps": 0, "seconds": 0.0}
        self._pace, self._check_s = pace.Pace(), 0.0  # seconds of the last validation
        self._learning_rate = float(model.optimizer.learning_rate) if plan.decays else 0.0
        self._variables = _state_variables(model)
        self._kept = plan.kept or model
        self._weights = transfer.named_variables(self._kept)

    def train(self) -> None:
        """Runs until `plan.n_iter` steps are done, resuming from the saved state if there is one.

        Raises:
            TrainingError: the loss is NaN or infinite; the step and its batch are saved.
            Interrupted: Ctrl-C or a termination signal; the state is saved.
        """
        if self.plan.hours:
            self.n_iter = pace.recall(self.run, self.plan.hours) or math.inf
        resumed = self._restore()
        if not resumed and self.plan.average_decay:
            self._start_average(transfer.read_weights(self._kept))
        with StopSignal() as stop:
            while self.step < self.n_iter:
                self._segment(stop)
                if stop.requested:
                    break
            else:
                self._close()
            if stop.requested:
                if self.step < self.n_iter:  # else saved by the last segment; `_close` added what must not be
                    self._save()
                raise Interrupted(f"Stopped after step {self.step}{self._of(' of ')}; everything is saved.")

    def _segment(self, stop: StopSignal) -> None:
        end = min((self.step // self.plan.segment + 1) * self.plan.segment, self.n_iter)
        if self.plan.before_segment is not None:
            self.plan.before_segment(self.step, lambda: stop.requested)
        if self.plan.decays:
            self.model.optimizer.learning_rate = self._learning_rate * (1 - self.step / self.n_iter) ** _POWER
        monitor = StepMonitor(self.step, end, stop, after_step=self._after_step, totals=self._partial["sums"])
        self._pace.start()
        started = time.perf_counter()
        batches, how = StepBatches(self.plan.make_batch, self.step, end), {"shuffle": False, "verbose": 0}
        self.model.fit(batches, epochs=1, steps_per_epoch=end - self.step, callbacks=[monitor], **how)
        self._partial["sums"] = monitor.totals
        self._partial["steps"] += monitor.steps
        self._partial["seconds"] += time.perf_counter() - started
        self.step += monitor.steps
        if not math.isfinite(monitor.loss):
            self._diverged(self.step - 1, monitor.loss)
        if self.step % self.plan.segment == 0:
            if math.isinf(self.n_iter) and self._pace.seconds:
                self._choose_length(self.step, self._time_of_validation())
            self.rows.append(self._validated(chooses=True))
            self._partial = {"sums": {}, "steps": 0, "seconds": 0.0}
            self._save()
            self._log(self.rows)
        elif self.step == min(end, self.n_iter):
            self._save()

    def _after_step(self, done: int) -> None:
        """Is called after each step with the number of steps done."""
        if self.average is not None:
            self.average.update(done)
        if self._pace.tick():
            if not math.isinf(self.n_iter):
                self._tell_estimate(done)
            elif self.plan.hours * 3600 < self.plan.segment * self._pace.seconds:  # over before the first validation
                self._choose_length(done, 0.0)
        if done >= self.n_iter:
            self.model.stop_training = True

    def _choose_length(self, done: int, check: float) -> None:
        hours, segment, step = self.plan.hours, self.plan.segment, self._pace.seconds
        self.n_iter = pace.steps_for(hours, step, check=check, segment=segment, tests=self.plan.tests, done=done)
        pace.record(self.run, hours, self.n_iter, step + check / segment)

    def _time_of_validation(self) -> float:
        """Returns the seconds of a validation that compiles nothing any more."""
        for _ in range(2):
            started = time.perf_counter()
            if self.plan.validate is not None:
                self.plan.validate()
        return time.perf_counter() - started

    def _tell_estimate(self, done: int) -> None:
        plan, total = self.plan, int(self.n_iter)
        known = {"more": ", validations and test beside" if plan.validate else "", "following": plan.following}
        known["can_be_chosen"] = plan.can_be_extended and not plan.hours
        if text := pace.estimate(self._pace.seconds, total - done, total, plan.segment, **known):
            logging.info("%s", text)

    def _of(self, words: str) -> str:
        """Returns the number of all steps behind these words, "" as long as it is not known."""
        return "" if math.isinf(self.n_iter) else f"{words}{self.n_iter}"

    def _close(self) -> None:
        """Writes the last weights, after a last validation where `n_iter` is no multiple of the segment.

        That validation is logged, but chooses the best weights only if there was no other, and it is no part of the
        saved state: a run that is extended later has to become the one that was longer from the start.
        """
        if self._partial["steps"]:
            self.rows.append(self._validated(chooses=not self._has_best or not self.plan.can_be_extended))
        self._log(self.rows)
        with self._averaged():
            self._write_weights(LAST, {"step": self.step})

    @property
    def _has_best(self) -> bool:
        return math.isfinite(self.tracker.best)

    def load(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns the weights `BEST` or `LAST` and their record.

        Raises:
            DataError: the file is missing, damaged, or not the one that this training wrote.
        """
        path, expected = self.run.checkpoints / name, {"step": self.step}
        if name == BEST:
            expected = {"step": self.tracker.best_step, self.plan.chooses: self.tracker.best}
        weights, record = checkpoint.load_arrays(path, expected=f"the weights of step {expected['step']}")
        is_newer = record.get("step", 0) > expected["step"]  # a kill came before the state was saved, or after `_close`
        checkpoint.check_owner(path, record, self.run.owner, **({} if is_newer or not self._has_best else expected))
        return weights, record

    def _validated(self, *, chooses: bool) -> dict[str, Any]:
        """Returns the line of the log for the steps since the last one; `chooses`: the best weights may change."""
        steps, seconds, started = self._partial["steps"], self._partial["seconds"], time.perf_counter()
        row = {
            "step": self.step,
            "loss": 0.0,
            **{name: total / max(steps, 1) for name, total in self._partial["sums"].items()},
            "seconds": round(seconds, 3),
            "steps_per_s": round(steps / max(seconds, 1e-9), 3),
        }
        column = self.plan.chooses
        if self.plan.validate is not None and self.average is not None:
            row[f"{column}_raw"] = self.plan.validate()[column]
        with self._averaged():
            if self.plan.validate is not None:
                row |= self.plan.validate()
                value = math.nan if self.plan.keeps_last else row.get(column, math.nan)
                if chooses and (self.tracker.update(self.step, value) or not self._has_best):
                    self.tracker.best_step = self.step
                    self._write_weights(BEST, {"step": self.step, column: value})
                if self.plan.writes_last:
                    self._write_weights(LAST, {"step": self.step})
            if self.plan.monitor is not None:
                row |= self.plan.monitor()
        self._check_s = time.perf_counter() - started
        if self.plan.tensorboard:
            write_tensorboard(self.run.logs / "tensorboard", row)
        self._report(row)
        return row

    def _log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        middle = {name for row in rows for name in row} - set(_FIRST) - set(_FINAL)
        files.write_csv(self.run.logs / "train.csv", rows, [*_FIRST, *sorted(middle), *_FINAL])

    def _report(self, row: Mapping[str, Any]) -> None:
        shown = [f"step {self.step}{self._of('/')}", f"loss {row['loss']:.4f}"]
        best = f"best {self.tracker.best:.3f} at {self.tracker.best_step}" if self._has_best else "undefined"
        for name in {"val_dice", self.plan.chooses} & row.keys():
            words = name.replace("val_dice", "validation Dice").replace("_", " ")
            shown.append(f"{words} {row[name]:.3f}" + f" ({best})" * (name == self.plan.chooses))
        if "val_confident_right" in row:
            shown.append(
                f"{row['val_confident']:.0%} of the structures' pixels confident, {row['val_confident_right']:.0%} of "
                "these right"
            )
        if "effective_rank" in row:
            shown.append(f"effective rank {row['effective_rank']:.1f}")
        step = 1 / max(row["steps_per_s"], 1e-9)
        shown.append(f"{step:.2f} s/step")
        step = self._pace.seconds or step  # which compiled something, where it is the first line
        left = self.n_iter - self.step
        left = left * (step + self._check_s / self.plan.segment) + bool(left) * self.plan.tests * self._check_s
        if 1 <= left < math.inf:
            shown.append(f"about {duration(left)} left")
            shown += [self.plan.following.left(left, step)] if self.plan.following else []
        logging.info("%s", ", ".join(shown))

    def _averaged(self) -> AbstractContextManager[None]:
        return swapped_weights(self._weights, self.average.values if self.average is not None else None)

    def _start_average(self, values: Mapping[str, np.ndarray]) -> None:
        self.average = MovingAverage(self._weights, self.plan.average_decay, values)

    def _write_weights(self, name: str, record: Mapping[str, Any]) -> None:
        weights = transfer.read_weights(self._kept)
        checkpoint.save_arrays(self.run.checkpoints / name, weights, {**record, "run": self.run.owner})

    def _save(self) -> None:
        backend.synchronise(self.model)
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables.items()}
        if self.average is not None:
            arrays |= {f"average/{name}": value for name, value in self.average.arrays().items()}
        record = {
            "step": self.step,
            "rows": self.rows,
            "tracker": self.tracker.state(),
            "partial": self._partial,
            "digest": self.run.digest,
            "run": self.run.owner,
        }
        checkpoint.save_state(self.run.checkpoints / STATE, arrays, record)

    def _restore(self) -> bool:
        loaded = checkpoint.load_state(self.run.checkpoints / STATE)
        if loaded is None:
            return False
        arrays, record, damaged = loaded
        for text in damaged:
            logging.warning("Damaged state, resuming from the one before: %s", text)
        shapes = {name: tuple(variable.shape) for name, variable in self._variables.items()}
        saved = {name: array.shape for name, array in arrays.items() if not name.startswith("average/")}
        mine = {"digest": self.run.digest, "run": self.run.owner}
        if saved != shapes or any(record.get(name, value) != value for name, value in mine.items()):
            raise DataError(
                self.run.checkpoints / STATE,
                expected="the state of this network and optimizer, trained on the present data",
                found="another one's: annotations, settings or the version of the software were others then",
                remedy=f"Put the run's own file back; or move {self.run.dir} elsewhere and repeat the command, which "
                "trains this network afresh.",
            )
        if record["step"] > self.n_iter:
            raise ConfigError(
                f"{self.run.dir} has already been trained for {record['step']} steps, more than the "
                f"{self.n_iter} asked for now. Ask for at least as many; or move that folder elsewhere and repeat "
                "the command, which trains it afresh."
            )
        for name, variable in self._variables.items():
            variable.assign(arrays[name])
        if self.plan.average_decay:
            self._start_average({name: arrays[f"average/{name}"] for name in self._weights})
        self.step, self.rows = record["step"], record["rows"]
        self.tracker.load_state(record["tracker"])
        if self.plan.validate is not None and self.tracker.best_step >= 0:
            self.load(BEST)  # rather than after the rest of the training
        self._partial = record["partial"]
        if "sum" in self._partial:  # written before networks had several losses
            self._partial["sums"] = {"loss": self._partial.pop("sum")} if self._partial["steps"] else {}
        logging.info("Resuming after step %d%s.", self.step, self._of(" of "))
        return True

    def _diverged(self, step: int, loss: float) -> None:
        path = self.run.logs / f"nan_step_{step:06d}.json"
        files.write_json(path, {"step": step, "batch": self.plan.describe_batch(step)})
        raise TrainingError(
            f"{'NaN' if math.isnan(loss) else 'Infinite'} loss at step {step}. Its slices are listed in {path}; the "
            "last saved state is unharmed. Lower the learning rate, raise the temperature or look at these slices; "
            "repeating the same command would end the same way."
        )


def _state_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns everything that changes during training, by an unambiguous name."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{group}/{i:04d}/{_path(v)}": v for group, items in groups.items() for i, v in enumerate(items)}


def _path(variable: keras.Variable) -> str:
    """Returns the variable's path without Keras' counters ("adam_1/..."), which depend on what was made before."""
    first, *rest = (re.sub(r"^(seed_generator)_\d+$", r"\1", part) for part in variable.path.split("/"))
    return "/".join([re.sub(r"_\d+$", "", first) if rest else first, *rest])
