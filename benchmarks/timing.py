"""Measuring: one thread, processor time beside wall time, what is compared taking turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


def single_thread() -> None:
    """Restricts TensorFlow to one thread per operation and one operation at a time; before anything is computed."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@dataclass
class Times:
    """Seconds of one thing, run by run.

    Attributes:
        cpu: Processor time of all threads of the process; on a machine that others use too, the one to trust.
        wall: Time that passed.
    """

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, function: Callable[[], object]) -> None:
        """Runs `function` once and keeps how long it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)


def interleave(
    functions: Mapping[str, Callable[[], object]], *, seconds: float = 60.0, most: int = 30, warm_up: int = 2
) -> dict[str, Times]:
    """Runs the functions in turn (A B C A B C ...) until the time is used up, at least three rounds.

    Args:
        functions: Name -> what to run.
        seconds: Wall time for all rounds.
        most: Rounds at most.
        warm_up: Runs of each that do not count.

    Returns:
        Name -> its times.
    """
    for function in functions.values():
        for _ in range(warm_up):
            function()
    times = {name: Times() for name in functions}
    end = time.perf_counter() + seconds
    while len(next(iter(times.values())).cpu) < min(3, most) or (
        time.perf_counter() < end and len(next(iter(times.values())).cpu) < most
    ):
        for name, function in functions.items():
            times[name].add(function)
    return times


def gradient_function(loss, targets, outputs):
    """Returns a function without arguments that computes the loss and its gradient, and how long its tracing took."""
    import tensorflow as tf

    @tf.function
    def compute(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return value, tape.gradient(value, y_pred)

    started = time.process_time()
    traced = compute.get_concrete_function(targets, outputs)
    seconds = time.process_time() - started
    return lambda: traced(targets, outputs), seconds


def ratio(reference: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    """Returns how many times longer the reference takes: by the shortest runs, and the median over rounds."""
    return min(reference) / min(ours), statistics.median(a / b for a, b in zip(reference, ours, strict=True))


def table(times: Mapping[str, Times], *, unit: str = "ms") -> str:
    """Returns a table; the first entry is the reference of the ratios."""
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    width = max(map(len, times))
    cpu_min, cpu_median, wall_min = f"cpu min {unit}", f"cpu median {unit}", f"wall min {unit}"
    lines = [f"{'':{width}}  {cpu_min:>11}  {cpu_median:>14}  {wall_min:>12}  ratio of minima  median ratio"]
    reference = next(iter(times.values()))
    for name, entry in times.items():
        of_minima, of_rounds = ratio(reference.cpu, entry.cpu)
        median = statistics.median(entry.cpu)
        lines.append(
            f"{name:{width}}  {min(entry.cpu) * scale:11.2f}  {median * scale:14.2f}  {min(entry.wall) * scale:12.2f}"
            f"  {of_minima:15.2f}  {of_rounds:12.2f}"
        )
    return "\n".join([*lines, f"({len(reference.cpu)} rounds)"])
