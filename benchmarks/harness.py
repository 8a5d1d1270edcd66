"""Timing, memory, fresh processes and the command line of all benchmarks.

A benchmark is a function under `benchmark`. Its keyword arguments, with their hints and defaults, are the options of
its command; it prepares everything and returns `Work`, the functions to measure. Each combination of options runs in a
process of its own with the given number of threads.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class Work(NamedTuple):
    """Functions to measure.

    Attributes:
        functions: Name -> function without arguments; the first is the reference of the ratios.
        count: Items of one call (rows, slices, picks), for items per second.
    """

    functions: Mapping[str, Callable[[], object]]
    count: int = 1


@dataclass(frozen=True)
class Benchmark:
    """A registered benchmark.

    Attributes:
        prepare: Options -> `Work`; an argument `folder` receives an empty temporary folder.
        has_memory: Whether each function runs once under `Watch`; otherwise they take turns, for times alone.
        tiny: Options with which the tests run it.
    """

    prepare: Callable[..., Work]
    has_memory: bool
    tiny: Mapping[str, Any]

    @property
    def options(self) -> dict[str, tuple[Any, Any]]:
        """Name -> type and default of each option."""
        hints = typing.get_type_hints(self.prepare)
        parameters = inspect.signature(self.prepare).parameters
        return {name: (hints[name], item.default) for name, item in parameters.items() if name != "folder"}

    def work(self, folder: Path, **options: Any) -> Work:
        """Prepares the functions to measure; their files lie below `folder`."""
        place = {"folder": folder} if "folder" in inspect.signature(self.prepare).parameters else {}
        return self.prepare(**place, **options)


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(*, memory: bool = False, **tiny: Any) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Registers a benchmark under the name of its function; arguments as for `Benchmark`."""

    def register(prepare: Callable[..., Work]) -> Callable[..., Work]:
        BENCHMARKS[prepare.__name__] = Benchmark(prepare, memory, tiny)
        return prepare

    return register


# --- time -----------------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Returns the processor time of all threads of this process and of the processes that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass
class Times:
    """Seconds of one function, run by run.

    Attributes:
        cpu: Processor time; on a machine with other load, the one to trust.
        wall: Elapsed time.
    """

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, function: Callable[[], object]) -> None:
        """Runs `function` once and records its times."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        function()
        self.cpu.append(cpu_seconds() - cpu)
        self.wall.append(time.perf_counter() - wall)


def interleave(
    functions: Mapping[str, Callable[[], object]], *, seconds: float, rounds: int, warm_up: int
) -> dict[str, Times]:
    """Runs the functions in turn (A B C A B C ...) until the time is used up, at least three rounds.

    Args:
        functions: Name -> function.
        seconds: Wall time of all rounds.
        rounds: Rounds at most.
        warm_up: Runs of each that do not count.

    Returns:
        Name -> its times.
    """
    for function in functions.values():
        for _ in range(warm_up):
            function()
    times = {name: Times() for name in functions}
    end = time.perf_counter() + seconds
    for index in range(rounds):
        if index >= 3 and time.perf_counter() >= end:
            break
        for name, function in functions.items():
            times[name].add(function)
    return times


def ratios(reference: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Returns how many times longer the reference takes: by the shortest runs, and the median over rounds."""
    return min(reference) / min(others), statistics.median(a / b for a, b in zip(reference, others, strict=True))


def table(times: Mapping[str, Times], count: int) -> str:
    """Returns a table in ms, whose first entry is the reference of the ratios."""
    width, reference = max(map(len, times)), next(iter(times.values()))
    lines = [f"{'':{width}}   CPU min, ms   CPU median   wall min   per CPU s   ratio of minima   median ratio"]
    for name, entry in times.items():
        of_minima, of_rounds = ratios(reference.cpu, entry.cpu)
        cpu, median, wall = (1e3 * value for value in (min(entry.cpu), statistics.median(entry.cpu), min(entry.wall)))
        lines.append(
            f"{name:{width}}  {cpu:12.2f} {median:12.2f} {wall:10.2f} {1e3 * count / cpu:11.2f} {of_minima:17.2f} "
            f"{of_rounds:14.2f}"
        )
    return "\n".join([*lines, f"({len(reference.cpu)} rounds)"])


# --- memory ---------------------------------------------------------------------------------------------------------


class Watch:
    """Times and memory of a block (Linux).

    What the process allocated must stay in memory; pages of mapped files can be dropped by the system. Its own high
    mark counts both.

    Attributes:
        wall, cpu: Seconds.
        allocated: Largest growth of the allocations in MiB, sampled 50 times a second.
        peak: High mark of the process within the block in MiB, with mapped pages.
        growth: `peak` minus what was resident before the block.
    """

    def __enter__(self) -> Watch:
        self.allocated, self._stopped = 0.0, threading.Event()
        self._start, self._resident = allocated_mib(), _status_mib("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the high mark
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        self.wall, self.cpu = time.perf_counter(), cpu_seconds()
        return self

    def __exit__(self, *_) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, cpu_seconds() - self.cpu
        self._stopped.set()
        self._thread.join()
        self.peak = _status_mib("VmHWM")
        self.growth = self.peak - self._resident

    def _sample(self) -> None:
        while not self._stopped.wait(0.02):
            self.allocated = max(self.allocated, allocated_mib() - self._start)


def allocated_mib() -> float:
    """Returns what this process has allocated and touched, without mapped files, in MiB."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * resource.getpagesize() / 2**20


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def watched(work: Work) -> str:
    """Runs each function once and returns a line for each."""
    lines = []
    for name, function in work.functions.items():
        with Watch() as watch:
            function()
        lines.append(
            f"{name}: {watch.cpu:.2f} s CPU, {watch.wall:.2f} s wall, {work.count / watch.cpu:.2f} per CPU s; "
            f"allocated {watch.allocated:+.1f} MiB, peak {watch.peak:.0f} MiB ({watch.growth:+.1f})"
        )
    return "\n".join(lines)


# --- command line ---------------------------------------------------------------------------------------------------


def _values(hint: Any) -> Callable[[str], list[Any]]:
    """Returns the reader of an option: values of a type or of a `Literal`, separated by commas."""
    choices = typing.get_args(hint)

    def read(text: str) -> list[Any]:
        parts = text.split(",")
        if choices and not set(parts) <= set(choices):
            raise argparse.ArgumentTypeError(f"must be of {', '.join(choices)}. Received: {text}")
        return parts if choices else [hint(part) for part in parts]

    return read


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads a command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="name", required=True)
    formatter = argparse.ArgumentDefaultsHelpFormatter
    for name, entry in BENCHMARKS.items():
        text = inspect.getdoc(entry.prepare)
        command = commands.add_parser(name, help=text.split("\n")[0], description=text, formatter_class=formatter)
        for option, (hint, default) in entry.options.items():
            choices = typing.get_args(hint)
            words = "of " + ", ".join(choices) if choices else hint.__name__
            command.add_argument(f"--{option}", type=_values(hint), default=str(default), help=f"{words}, ...")
        command.add_argument("--seconds", type=float, default=30.0, help="of measuring")
        command.add_argument("--rounds", type=int, default=30, help="at most")
        command.add_argument("--warm_up", type=int, default=2, help="runs of each that do not count")
        command.add_argument("--threads", type=int, default=1, help="of NumPy and TensorFlow")
        command.add_argument("--folder", default=None, help="for temporary files")
        command.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in the processes started below
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures one benchmark and prints, for each combination of options."""
    args = parse(arguments)
    entry = BENCHMARKS[args.name]
    for values in itertools.product(*(getattr(args, name) for name in entry.options)):
        options = dict(zip(entry.options, values, strict=True))
        if args.here:
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                work = entry.work(Path(folder), **options)
                if entry.has_memory:
                    print(watched(work))
                else:
                    limits = {"seconds": args.seconds, "rounds": args.rounds, "warm_up": args.warm_up}
                    print(table(interleave(work.functions, **limits), work.count))
            continue
        print(args.name, *(f"{name}={value}" for name, value in options.items()), flush=True)
        flags = options | {name: getattr(args, name) for name in ("seconds", "rounds", "warm_up")}
        flags |= {"folder": args.folder} if args.folder else {}
        command = [sys.executable, "-m", "benchmarks", args.name, "--here"]
        command += [f"--{name}={value}" for name, value in flags.items()]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | dict.fromkeys(THREADS, str(args.threads))
        subprocess.run(command, check=True, env=environment)
