"""Checks of large files beside the work, which end before anything that depends on these files is written."""

from __future__ import annotations

import threading
from collections.abc import Callable

_running: list[_Check] = []


class _Check(threading.Thread):
    def __init__(self, function: Callable[[], object]):
        super().__init__(daemon=True)  # so that an interrupted program does not wait for it
        self.function, self.error = function, None

    def run(self) -> None:
        try:
            self.function()
        except Exception as error:
            self.error = error


def check(function: Callable[[], object]) -> None:
    """Calls a function in a thread. What it raises is raised by the next `settle`."""
    _running.append(_Check(function))
    _running[-1].start()


def settle() -> None:
    """Waits for all checks; called before weights, choices and marks of completion are written.

    Raises:
        DataError: a file was not what it should be.
    """
    while _running:
        _running[0].join()
        if error := _running.pop(0).error:
            raise error
