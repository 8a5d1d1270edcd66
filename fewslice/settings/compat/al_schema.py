"""What a key of an experiment file may be: its type, default, meaning, and for which types of its group it counts.

The groups themselves are the dataclasses of `al_schema_model`, `al_schema_policy` and `al_schema_geometry`: each field
is one key, so that the check, the values the engine sees and the table of experiments/README.md cannot differ.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fewslice.core.registry import unknown_name

METADATA = "key"
REQUIRED = object()
_YES_NO = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        help: What it does.
        must: What a value is, for the message "`name` must be <must>".
        read: Value of the file -> checked value. Raises ValueError, with a remedy or empty.
        types: Types of the group for which it counts; () is all.
        by_type: Type of the group -> default, where it is not the same for all.
        unused: Why it has no influence; "" if it has.
        group: Dataclass of the keys below it, or None.
        optional: Whether null is allowed.
    """

    help: str
    must: str
    read: Callable[[Any], Any]
    types: tuple[str, ...] = ()
    by_type: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unused: str = ""
    group: type | None = None
    optional: bool = False


class ItemError(ValueError):
    """What is wrong with one item of a list.

    Args:
        item: Its position.
        text: What is wrong.
    """

    def __init__(self, item: int, text: str):
        super().__init__(text)
        self.item = item


def keys_of(group: type) -> dict[str, Key]:
    """Returns name -> key of a group, in order."""
    fields = dataclasses.fields(group)
    return {field.name: field.metadata[METADATA] for field in fields if METADATA in field.metadata}


def default_of(group: type, name: str) -> Any:
    """Returns the default of a key, `REQUIRED` if it has none."""
    field = next(field for field in dataclasses.fields(group) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


def integer(default: Any, text: str, low: int = 0, high: int | None = None, **more: Any) -> Any:
    """A whole number from `low`; 1e4 is one too."""
    must = f"a whole number from {low} to {high}" if high is not None else f"a whole number, {low} or larger"

    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(_without_quotes(value, int))
        if value < low or (high is not None and value > high):
            raise ValueError
        return value

    return _field(default, text, must, read, more)


def choice(default: Any, text: str, *allowed: int, **more: Any) -> Any:
    """One of a few whole numbers."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or value not in allowed or not isinstance(value, int):
            raise ValueError(_without_quotes(value, int))
        return value

    return _field(default, text, " or ".join(map(str, allowed)), read, more)


def number(
    default: Any, text: str, low: float = -math.inf, *, high: float = math.inf, open_low: bool = False, **more: Any
) -> Any:
    """A finite number from `low`, or above it."""
    must = "a number" if low == -math.inf else f"a number {'above' if open_low else 'from'} {low:g}"
    must += "" if high == math.inf else f", at most {high:g}"

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(_without_quotes(value, float))
        if not math.isfinite(value) or value < low or value > high or (open_low and value == low):
            raise ValueError
        return float(value)

    return _field(default, text, must, read, more)


def flag(default: Any, text: str, **more: Any) -> Any:
    """True or false."""

    def read(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        meant = _YES_NO.get(str(value).lower())
        raise ValueError(f"Write {meant}." if meant else "")

    return _field(default, text, "true or false", read, more)


def word(default: Any, text: str, allowed: Sequence[str] | Callable[[], Sequence[str]], **more: Any) -> Any:
    """One of a few words, or of names that are only known when a file is read."""

    def read(value: Any) -> str:
        known = list(allowed() if callable(allowed) else allowed)
        if value not in known or not isinstance(value, str):
            raise ValueError(unknown_name("value", value, known))
        return value

    must = "a known name" if callable(allowed) else "one of " + ", ".join(allowed)
    return _field(default, text, must, read, more)


def text(default: Any, meaning: str, **more: Any) -> Any:
    """Any text."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("Put it in quotes." if value is not None else 'Write "" for none.')
        return value

    return _field(default, meaning, "a text", read, more)


def file_name(default: Any, meaning: str, **more: Any) -> Any:
    """The name of something that is written, which must stay in the run directory."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("Put it in quotes.")
        if problem := leaves(value):
            raise ValueError(problem)
        return value

    return _field(default, meaning, "a plain name without folders", read, more)


def leaves(name: str) -> str:
    """Returns the remedy if writing to `name` could leave the run directory, "" if it is a plain name.

    >>> leaves("scores.txt"), leaves("a b")
    ('', 'Use letters, digits, dots, hyphens and underscores.')
    """
    last = PurePath(name.replace("\\", "/")).name
    if re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII):
        return ""
    if "/" in name or "\\" in name or name.startswith(("~", ".")):
        suggestion = f" Write {last!r}." if re.fullmatch(r"[A-Za-z0-9_][\w.-]*", last, re.ASCII) else ""
        return f"It would be written outside the run directory.{suggestion}"
    return "Use letters, digits, dots, hyphens and underscores."


def size(default: Any, text: str, multiple: int = 1, **more: Any) -> Any:
    """Rows and columns in pixels."""
    must = "[rows, columns] in pixels" + (f", multiples of {multiple}" if multiple > 1 else "")

    def read(value: Any) -> tuple[int, int]:
        parts = value if isinstance(value, (list, tuple)) else ()
        if len(parts) != 2 or not all(type(part) is int and part > 0 and part % multiple == 0 for part in parts):
            raise ValueError
        return tuple(parts)

    return _field(default, text, must, read, more)


def positions(text: str, **more: Any) -> Any:
    """Positions in a group of slices."""

    def read(value: Any) -> tuple[int, ...]:
        if not isinstance(value, (list, tuple)) or not all(type(part) is int and 0 <= part <= 3 for part in value):
            raise ValueError("Write for instance [2, 3].")
        return tuple(sorted(set(value)))

    return _field((), text, "a list of positions from 0 to 3", read, more)


def nested(group: type, text: str, **more: Any) -> Any:
    """A group within a group."""
    key = Key(text, "keys with values", lambda value: value, group=group, **more)
    return dataclasses.field(default_factory=group, metadata={METADATA: key})


def custom(default: Any, text: str, must: str, read: Callable[[Any], Any], **more: Any) -> Any:
    """Anything else."""
    return _field(default, text, must, read, more)


def _field(default: Any, text: str, must: str, read: Callable[[Any], Any], more: Mapping[str, Any]) -> Any:
    settings = {"optional": default is None, **more}
    key = Key(text, must, read, **settings)
    if default is REQUIRED:
        return dataclasses.field(metadata={METADATA: key})
    return dataclasses.field(default=default, metadata={METADATA: key})


def _without_quotes(value: Any, kind: Callable[[str], Any]) -> str:
    if not isinstance(value, str):
        return ""
    try:
        kind(value.replace(",", "."))
    except ValueError:
        return ""
    return "Write it without quotes." if "," not in value else "Write the decimal point as a dot."
