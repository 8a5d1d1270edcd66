"""Parts of `Trainer`: counting steps and watching the loss, averaging and swapping weights, stopping on request."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from fewslice.core import app, backend
from fewslice.core.progress import Progress


class StepMonitor(keras.callbacks.Callback):
    """Counts steps, watches the loss, shows progress and ends a segment early when asked to.

    Args:
        start: Steps done before the segment.
        end: Steps done after it.
        after_step: Called with the number of steps done, after each one whose loss is finite.
        totals: "loss", and "<output>_loss" of networks with several outputs -> sum over the steps of the segment that
            were done before.

    Attributes:
        steps: Steps done in this segment.
        totals: Sums of all losses, in the order of the steps, so that an interruption changes no bit of them.
        loss: Of the last step; training ends where it is NaN or infinite.
    """

    def __init__(
        self, start: int, end: int, stop: StopSignal, *, after_step: Callable[[int], None], totals: Mapping[str, float]
    ):
        super().__init__()
        self.steps = 0
        self.totals = dict(totals)
        self.loss = 0.0
        self._start = start
        self._stop = stop
        self._after_step = after_step
        self._line = Progress(end - start, f"steps {start + 1} to {end}", is_kept=False)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not self.steps:
            app.keep_memory()  # the dataset has begun

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.steps += 1
        self.loss = float(logs["loss"])
        backend.synchronise(self.model)
        self.model.reset_metrics()  # so that the next step reports its own loss and not a mean
        for name, value in logs.items():
            if name == "loss" or name.endswith("_loss"):
                self.totals[name] = self.totals.get(name, 0.0) + float(value)
        self._line.update(1, f"loss {self.loss:.4f}")
        is_finite = math.isfinite(self.loss)
        if is_finite:
            self._after_step(self._start + self.steps)
        if not is_finite or self._stop.requested:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._line.close()


class StopSignal:
    """Turns the first Ctrl-C (or termination signal) into a request; the second one interrupts at once."""

    def __init__(self):
        self.requested = False
        self._handlers: dict[int, Any] = {}

    def _handle(self, number: int, _frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        logging.info("Stopping after this step and saving (%s).", signal.Signals(number).name)

    def __enter__(self) -> StopSignal:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._handle)
        except ValueError:  # not in the main thread: the caller's handlers stay
            pass
        return self

    def __exit__(self, *_exception: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


class MovingAverage:
    """Exponential moving average of a network's weights, in float32 where the weights are.

    Args:
        variables: Name -> weight.
        decay: Per step; it grows from 0 to this over the first steps.
        start: Name -> average so far.

    Attributes:
        values: Name -> average.
    """

    def __init__(self, variables: Mapping[str, keras.Variable], decay: float, start: Mapping[str, np.ndarray]):
        self.values = {name: keras.Variable(start[name], trainable=False, dtype="float32") for name in variables}
        self._decay = decay
        pairs = [(self.values[name], variable) for name, variable in variables.items()]

        def move(rate: Any) -> None:
            for average, variable in pairs:
                average.assign_add(rate * (variable - average))

        self._move = backend.compiled(move, *map(list, zip(*pairs, strict=True)))

    def update(self, steps_done: int) -> None:
        """Moves the average one step towards the current weights."""
        rate = 1.0 - min(self._decay, (1.0 + steps_done) / (10.0 + steps_done))
        self._move(keras.ops.convert_to_tensor(rate, "float32"))

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns name -> average as NumPy arrays."""
        return {name: keras.ops.convert_to_numpy(value) for name, value in self.values.items()}


@contextlib.contextmanager
def swapped_weights(variables: Mapping[str, keras.Variable], values: Mapping[str, Any] | None) -> Iterator[None]:
    """Gives a network's weights other values for the length of a block; None changes nothing."""
    kept = {} if values is None else {n: np.array(keras.ops.convert_to_numpy(v)) for n, v in variables.items()}
    try:
        for name in kept:
            variables[name].assign(values[name])
        yield
    finally:
        for name, value in kept.items():
            variables[name].assign(value)


def write_tensorboard(folder: Path, row: Mapping[str, Any]) -> None:
    """Adds the numbers of a line of the log, under its `step`."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    values = [Summary.Value(tag=k, simple_value=float(v)) for k, v in row.items() if isinstance(v, (int, float))]
    writer.add_event(Event(wall_time=time.time(), step=row["step"], summary=Summary(value=values)))
    writer.close()
