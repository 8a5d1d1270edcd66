"""What the user sees while something takes long: log lines (`fewslice.core.progress` draws the progress line)."""

from __future__ import annotations

import contextlib
import io
import logging as std_logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

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


def open_streams() -> None:
    """Makes the standard streams usable whatever the shell made of them.

    One that was closed (`2>&-`) leads nowhere: the next file that is opened must not take its number. Output that
    cannot be written is remembered as `sys.stdout.problem` and stops nothing, letters that cannot are written as
    escapes; a reader that has gone still raises `BrokenPipeError`.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = _Output(sys.stdout)


def discard_output() -> None:
    """Lets the standard output lead nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Output:
    """A text stream that survives a full disk."""

    def __init__(self, stream: io.TextIOWrapper):
        self._stream, self.problem = stream, ""

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.problem = error.strerror or str(error)
            discard_output()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


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
