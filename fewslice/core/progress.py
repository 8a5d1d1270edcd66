"""A progress line on stderr: redrawn in place on a terminal, now and then a line of its own in a log file."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO

_BAR = 24  # characters
_REDRAW_S = 0.1  # between two drawings on a terminal
_LINE_S = 10.0  # between two lines in a log file


class Progress:
    """Counts finished items and shows how far the work is. May be updated from several threads.

    Args:
        title: What is done, for instance "Preparing acdc".
        is_kept: False wipes the line off the terminal at the end, and writes nothing into a log file.
        stream: Where to write; default stderr.

    Example:
        >>> with Progress(3, "Reading", is_enabled=False) as progress:
        ...     for _ in range(3):
        ...         progress.update()
        >>> progress.done
        3
    """

    def __init__(
        self, total: int, title: str, *, is_enabled: bool = True, is_kept: bool = True, stream: TextIO | None = None
    ):
        self.total, self.title, self.done = total, title, 0
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal, self._is_kept = bool(getattr(self._stream, "isatty", lambda: False)()), is_kept
        self._is_enabled = is_enabled and total > 0 and (is_kept or self._is_terminal)
        self._lock = threading.Lock()
        self._started = self._shown = time.monotonic()
        self._shown -= _REDRAW_S

    def update(self, count: int = 1, note: str = "") -> None:
        """Adds `count` finished items; `note` says which one, on a terminal."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            if self._is_enabled and now - self._shown >= (_REDRAW_S if self._is_terminal else _LINE_S):
                self._shown = now
                self._show(self._text(now, note))

    def close(self) -> None:
        """Shows the last state, which stays on the screen."""
        with self._lock:
            if self._is_enabled:
                self._show(self._text(time.monotonic(), "") if self._is_kept else "")
                self._write(("\n" if self._is_kept else "\r") if self._is_terminal else "")
                self._is_enabled = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _text(self, now: float, note: str) -> str:
        elapsed = now - self._started
        filled = _BAR * self.done // self.total
        bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if self._is_terminal else ""
        left = elapsed / self.done * (self.total - self.done) if 0 < self.done < self.total else 0.0
        times = f"{_clock(elapsed)}" + (f", about {_clock(left)} left" if left else "")
        return f"{self.title} {bar}{self.done}/{self.total} {times}" + (f"  {note}" if note else "")

    def _show(self, text: str) -> None:
        if self._is_terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            self._write("\r" + text[:width].ljust(width))
        else:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a closed terminal must not stop the work
            self._is_enabled = False


def _clock(seconds: float) -> str:
    seconds = round(seconds)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"
