"""What a command-line flag may be: its type, default, help and allowed values, and short ways to write common ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spec:
    """One flag.

    Args:
        kind: "integer", "float", "string", "bool" or "multi_string".
        default: Its default, unless the column of a stage says otherwise.
        help: What it does, in one or two sentences.
        is_right: Whether a value is allowed.
        must: What an allowed value is, for the message "`name` must be <must>".
    """

    kind: str
    default: Any
    help: str
    is_right: Callable[[Any], bool] | None = None
    must: str = ""


def integer(default: int, text: str, low: int, high: int | None = None) -> Spec:
    """A whole number from `low`."""
    if high is None:
        return Spec("integer", default, text, lambda value: value >= low, f"{low} or larger")
    must = f"a whole number from {low} to {high}"
    return Spec("integer", default, text, lambda value: low <= value <= high, must)


def choice(default: int, text: str, *allowed: int) -> Spec:
    """One of a few whole numbers."""
    must = "one of " + ", ".join(map(str, allowed))
    return Spec("integer", default, text, lambda value: value in allowed, must)


def positive(default: float, text: str) -> Spec:
    """A finite number above 0."""
    return Spec("float", default, text, lambda value: 0 < value < math.inf, "a positive number")


def text(default: str | None, text: str) -> Spec:
    """Any text."""
    return Spec("string", default, text)


def name(default: str, text: str) -> Spec:
    """A text that becomes part of a folder's name."""
    must = "letters, digits, underscores and hyphens"
    return Spec("string", default, text, lambda value: re.fullmatch(r"[\w-]+", value) is not None, must)


def not_negative(default: float, text: str) -> Spec:
    """A finite number, 0 or larger."""
    return Spec("float", default, text, lambda value: 0 <= value < math.inf, "0 or larger")


def one_of(default: str, text: str, *allowed: str) -> Spec:
    """One of a few words."""
    return Spec("string", default, text, lambda value: value in allowed, "one of " + ", ".join(allowed))
