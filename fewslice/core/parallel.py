"""The same work on many volumes at once, in threads.

Threads rather than processes: inflating, hashing, sorting and matrix products release the interpreter's lock,
and a process forked from a program that runs TensorFlow can hang.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Yields (index, function(item)) as the results come, whatever their order.

    At most `workers` items are under way at a time, so memory is bounded by that many volumes. An exception
    in `function`, or where the results are used, stops the rest.

    Args:
        workers: Number of threads; default `default_workers()`.
    """
    workers = max(1, min(workers or default_workers(), len(items)))
    pool = ThreadPoolExecutor(workers)
    pending: dict[Future, int] = {}
    upcoming = iter(enumerate(items))
    try:
        while True:
            while len(pending) < workers and (entry := next(upcoming, None)) is not None:
                pending[pool.submit(function, entry[1])] = entry[0]
            if not pending:
                return
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=pending.__getitem__):
                yield pending.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
