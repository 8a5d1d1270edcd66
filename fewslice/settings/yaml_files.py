"""Strict reading of YAML settings: every value knows its line, and what YAML accepts but nobody means is refused.

Values follow YAML 1.2: `true` and `false` are the only truth values, `no` and `on` are texts, `1e-4` is a number, `010`
is ten. Nothing in a file can create objects: it is mappings, lists, texts, numbers, true, false and null.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from pathlib import Path
from typing import Any

import yaml

from fewslice.core.errors import ConfigError, DataError

LARGEST_BYTES = 200_000
DEEPEST = 20  # mappings and lists within each other
MOST_VALUES = 20_000  # aliases expanded
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
_EMPTY = "Write the settings as `key: value` lines, groups indented by two spaces."

Place = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class YamlFile:
    """What a file says, and where.

    Attributes:
        path: The file as the user named it.
        values: The top-level mapping; nested dict, list, str, int, float, bool, None.
        lines: Place -> line from 1; a place is the keys and list positions that lead to a value, such as
            ("policy", "rounds", 2). The line is that of the key, for items of a list that of the item.
        problems: (line, message) of what can be read but is wrong: keys that stand twice.
    """

    path: str
    values: dict[str, Any]
    lines: dict[Place, int]
    problems: tuple[tuple[int, str], ...]

    def line(self, place: Place) -> int:
        """Returns the line of a value, of what contains it if it is absent, 1 for the whole file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(path: str | os.PathLike) -> YamlFile:
    """Reads a file whose top level is a mapping.

    Raises:
        DataError: the file is missing, unreadable, too large or no text.
        ConfigError: it is no YAML, or YAML that these settings do without (tags, several documents, merge keys); the
            message names file and line.
    """
    shown, text = os.fspath(path), _text(Path(path))
    _check_events(shown, text)
    node = _composed(shown, text)
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1 if node is not None else 1
        raise ConfigError(f"{shown}:{line}: expected keys with values. {_EMPTY}")
    reader = _Reader(shown)
    values = reader.value(node, ())
    return YamlFile(shown, values, reader.lines, tuple(reader.problems))


def parse_value(text: str) -> Any:
    """Returns the value that a text means, as it would in a file: "3", "1e-4", "true", "[[0.1, 0], [0.1, 0]]".

    Raises:
        ConfigError: it is no value.
    """
    _check_events("", text)
    node = _composed("", text)
    reader = _Reader("")
    value = reader.value(node, ()) if node is not None else None
    if reader.problems:
        raise ConfigError(reader.problems[0][1])
    return value


def scalar(text: str) -> Any:
    """Returns what a word without quotes means by the rules of YAML 1.2.

    >>> scalar("1e-4"), scalar("no"), scalar("true"), scalar("007"), scalar("~")
    (0.0001, 'no', True, 7, None)
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.fullmatch(text)
    return float(special[1] + special[2].lower()) if special else text


def _text(path: Path) -> str:
    remedy = "Name a file such as experiments/acdc_weak_ours.yml."
    expected = "a YAML file with the settings of an experiment"
    if path.is_dir():
        raise DataError(path, expected=expected, found="a folder", remedy=remedy)
    if not path.exists():
        near = sorted(other.name for other in path.parent.glob("*.yml")) if path.parent.is_dir() else []
        found = "nothing" + (f"; the folder holds {', '.join(near)}" if near else "")
        closest = difflib.get_close_matches(path.name, near, n=1)
        remedy = f"Did you mean {path.parent / closest[0]}?" if closest else remedy
        raise DataError(path, expected=expected, found=found, remedy=remedy)
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise DataError(
            path, expected=expected, found=f"cannot be read: {error.strerror}", remedy="Look at its permissions."
        ) from error
    if len(raw) > LARGEST_BYTES:
        raise DataError(path, expected=expected, found=f"more than {LARGEST_BYTES} bytes", remedy=remedy)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            path, expected="text in UTF-8", found=f"other bytes in line {line}", remedy="Save it as UTF-8 text."
        ) from error


def _check_events(shown: str, text: str) -> None:
    """Refuses what cannot be read or is not wanted, before anything recursive looks at the file."""
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            place = _at(shown, event.start_mark.line + 1)
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > DEEPEST:
                    raise ConfigError(f"{place}more than {DEEPEST} levels of nesting. Write fewer.")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise ConfigError(f"{place}a second document begins with `---`. Keep one experiment per file.")
            if getattr(event, "tag", None) is not None:
                raise ConfigError(f"{place}the tag {event.tag!r} is not allowed. Write the plain value.")
    except yaml.YAMLError as error:
        raise ConfigError(_unreadable(shown, text, error)) from error


def _composed(shown: str, text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(_unreadable(shown, text, error)) from error


def _at(shown: str, line: int) -> str:
    return f"{shown}:{line}: " if shown else ""


def _unreadable(shown: str, text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a character that YAML does not allow
        position = getattr(error, "position", 0)
        return f"{_at(shown, text[:position].count(chr(10)) + 1)}a character that is no text. Save the file as UTF-8."
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    remedy = "Compare the indentation, colons, brackets and quotes of this line and the one above."
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in str(error.problem):
        remedy = "Indent with spaces, not with tabs."
    elif "undefined alias" in str(error.problem):
        remedy = "Put texts with * in quotes."
    what = f"YAML cannot read this: {error.problem}"
    return (
        f"{_at(shown, mark.line + 1)}{what}: {line.strip()!r}. {remedy}"
        if line.strip()
        else (f"{_at(shown, mark.line + 1)}{what}. {remedy}")
    )


class _Reader:
    """Turns nodes into values and notes their lines."""

    def __init__(self, shown: str):
        self.shown, self.count, self.open = shown, 0, set()
        self.lines: dict[Place, int] = {}
        self.problems: list[tuple[int, str]] = []

    def value(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self.count += 1
        if self.count > MOST_VALUES:
            raise ConfigError(f"{_at(self.shown, line)}more than {MOST_VALUES} values. Aliases (*) multiply them.")
        if isinstance(node, yaml.ScalarNode):
            return scalar(node.value) if node.style is None else node.value
        if id(node) in self.open:
            raise ConfigError(f"{_at(self.shown, line)}a value that contains itself (&, *). Write it out.")
        self.open.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            found: Any = [self.value(item, (*place, number)) for number, item in enumerate(node.value)]
        else:
            found = self._mapping(node, place)
        self.open.remove(id(node))
        return found

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{_at(self.shown, line)}a key must be a word. Put texts with {{ or [ in quotes.")
            key = key_node.value
            if key == "<<" and key_node.style is None:
                raise ConfigError(f"{_at(self.shown, line)}merge keys (<<) are not allowed. Write the keys out.")
            if key in found:
                first = self.lines[(*place, key)]
                text = f"the key `{key}` stands twice, first in line {first}. Remove one of them."
                self.problems.append((line, text))
                _Reader(self.shown).value(value_node, ())  # refuses what cannot be read in it, too
                continue
            self.lines[(*place, key)] = line
            found[key] = self.value(value_node, (*place, key))
        return found
