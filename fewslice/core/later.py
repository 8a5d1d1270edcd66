"""Checks of large files beside the work, which end before anything that depends on these files is written."""

from __future__ import annotations

import threading
from collections.abc import Callable

_running: list[tuple[threading.Thread, list[Exception]]] = []


def check(function: Callable[[], object]) -> None:
    """Calls a function in a thread. What it raises is raised by the next `settle`."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            function()
        except Exception as error:
            errors.append(error)

    _running.append((threading.Thread(target=run, daemon=True), errors))  # an interrupted program does not wait for it
    _running[-1][0].start()


def settle() -> None:
    """Waits for all checks; called before weights, choices and marks of completion are written.

    Raises:
        DataError: a file was not what it should be.
    """
    while _running:
        thread, errors = _running.pop(0)
        thread.join()
        if errors:
            raise errors[0]
