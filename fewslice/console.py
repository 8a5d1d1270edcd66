"""What the user sees while something takes long: log lines and a progress line."""

from __future__ import annotations

import logging as std_logging
import sys
import time

from absl import logging


def duration(seconds: float) -> str:
    """Returns a duration as people write it.

    >>> duration(75), duration(8000)
    ('1 min 15 s', '2 h 13 min')
    """
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class _Formatter(std_logging.Formatter):
    """Plain messages; warnings and errors say so."""

    def format(self, record: std_logging.LogRecord) -> str:
        text = record.getMessage()
        return text if record.levelno <= std_logging.INFO else f"{record.levelname}: {text}"


def set_up() -> None:
    """Sends absl's log lines to the standard error stream as plain text, information included."""
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Formatter())
    handler.use_absl_log_file = False
    logging.use_absl_handler()


class ProgressLine:
    """One line that is rewritten in place on a terminal and left out elsewhere.

    Args:
        title: What is going on.
        total: Number of steps.
    """

    def __init__(self, title: str, total: int):
        self._title = title
        self._total = max(total, 1)
        self._visible = sys.stderr.isatty()
        self._shown = 0.0

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` steps are done. At most ten times a second."""
        now = time.monotonic()
        if not self._visible or (now - self._shown < 0.1 and done < self._total):
            return
        self._shown = now
        filled = 24 * done // self._total
        bar = "#" * filled + "." * (24 - filled)
        sys.stderr.write(f"\r\x1b[2K[{bar}] {self._title}: {done}/{self._total}  {note}")
        sys.stderr.flush()

    def close(self) -> None:
        """Removes the line."""
        if self._visible:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
