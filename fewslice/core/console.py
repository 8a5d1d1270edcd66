"""What the user sees while something takes long: log lines (`fewslice.core.progress` draws the progress line)."""

from __future__ import annotations

import contextlib
import logging as std_logging
import os
import sys
from collections.abc import Iterator

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


@contextlib.contextmanager
def without_native_messages() -> Iterator[None]:
    """Keeps what compiled libraries print on the standard error stream away for the length of a block.

    For importing TensorFlow, whose first messages no setting switches off. Python's own errors are shown as ever.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
