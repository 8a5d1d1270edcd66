"""Errors that a user can cause and mend.

Everything raised from here is shown by the scripts as one message without a traceback (see `fewslice.core.app`). A
broken internal contract raises `RuntimeError` instead and keeps its traceback.
"""

from __future__ import annotations

import os
from collections.abc import Sequence


def listed(subject: str, problems: Sequence[str]) -> str:
    """Returns one problem as it is, several as a list of at most 50."""
    if len(problems) == 1:
        return problems[0]
    rest = [f"and {len(problems) - 50} more"] if len(problems) > 50 else []
    return "\n  - ".join([f"{subject} has {len(problems)} problems:", *problems[:50], *rest])


def is_utf8(text: str) -> bool:
    """Whether a name or flag from the system is text; its other bytes become surrogates, which no file could hold."""
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def few(names: Sequence[str], most: int = 12) -> str:
    """Returns names in one line, of many the first and the number of the others.

    >>> few(["a", "b"]), few("abcdefgh", most=3)
    ('a, b', 'a, b, c and 5 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def plural(number: int, noun: str) -> str:
    """Returns "1 round", "2 rounds"."""
    return f"{number} {noun}{'s' * (number != 1)}"


class FewSliceError(Exception):
    """A mistake in the input, the configuration or the environment that the user can mend."""


class ConfigError(FewSliceError):
    """A configuration value, flag or split that cannot be used. Lists every problem found, one per line."""


class TrainingError(FewSliceError):
    """Training cannot continue, for instance because of a NaN loss."""


class DataError(FewSliceError):
    """A file that is missing, unreadable or inconsistent."""

    def __init__(self, path: str | os.PathLike, *, expected: str, found: str, remedy: str):
        self.path = os.fspath(path)
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(f"{self.path}\n  expected: {expected}\n  found:    {found}\n  remedy:   {remedy}")
