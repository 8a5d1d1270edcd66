"""Strict reading of YAML settings: every problem at once, each with its file and line.

`read_yaml` refuses what YAML accepts but nobody means, `Reader` applies overrides and checks values against declared
types (`fewslice.core.options`); names of registered objects are looked up.

Values follow YAML 1.2: `true` and `false` are the only truth values, `no` and `on` are texts, `1e-4` is a number, `010`
is ten. Nothing in a file can create objects: it is mappings, lists, texts, numbers, true, false and null.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from fewslice.core import options, registry
from fewslice.core.errors import ConfigError, DataError, listed
from fewslice.core.options import Place, name_of

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


@dataclasses.dataclass(frozen=True)
class Registered:
    """Stands in the `Annotated` type of a setting that names a registered object.

    Attributes:
        kind: Of the object, as `fewslice.core.registry.of` knows it.
    """

    kind: str


@dataclasses.dataclass(frozen=True)
class Named:
    """A registered object and its options. In files: a name alone, or a mapping with `name` and the options."""

    SHORT: ClassVar[str] = "name"
    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class YamlFile:
    """What a file says, and where.

    Attributes:
        path: The file as the user named it.
        values: The top-level mapping; nested dict, list, str, int, float, bool, None.
        lines: Place -> line from 1; a place is the keys and list positions that lead to a value, such as
            ("policy", "rounds", 2). The line is that of the key, for items of a list that of the item.
        problems: (line, message) of what can be read but is wrong: duplicate keys.
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
    shown = os.fspath(path)
    node = _root(shown, _text(Path(path)))
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
    node, reader = _root("", text), _Reader("")
    value = reader.value(node, ()) if node is not None else None
    if reader.problems:
        raise ConfigError(reader.problems[0][1])
    return value


def scalar(text: str) -> Any:
    """Returns the value of a word without quotes by the rules of YAML 1.2.

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
    refusal = functools.partial(DataError, path, expected="a YAML file with the settings of an experiment")
    remedy = "Name a file such as experiments/phantom_quick.yml."
    if path.is_dir():
        raise refusal(found="a folder", remedy=remedy)
    if not path.exists():
        paths = [*path.parent.glob("*/*.yml"), *path.parent.glob("*.yml")] if path.parent.is_dir() else []
        near = {other.name: other for other in paths}
        here = sorted(other.name for other in paths if other.parent == path.parent)
        closest = difflib.get_close_matches(path.name, near, n=1)
        remedy = f"Did you mean {near[closest[0]]}?" if closest else remedy
        raise refusal(found="nothing" + (f"; the folder holds {', '.join(here)}" if here else ""), remedy=remedy)
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise refusal(found=f"cannot be read: {error.strerror}", remedy="Look at its permissions.") from error
    if len(raw) > LARGEST_BYTES:
        raise refusal(found=f"more than {LARGEST_BYTES} bytes", remedy=remedy)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = "other bytes in line {}".format(raw[: error.start].count(b"\n") + 1)
        raise DataError(path, expected="text in UTF-8", found=found, remedy="Save it as UTF-8 text.") from error


def _root(shown: str, text: str) -> yaml.Node | None:
    """Returns the outermost node, after refusing what these settings do without and what recursion could not bear."""
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
    what = f"YAML cannot read this: {error.problem}" + (f": {line.strip()!r}" if line.strip() else "")
    return f"{_at(shown, mark.line + 1)}{what}. {remedy}"


def _short(wanted: Any) -> str | None:
    """Returns the key that a value alone stands for in place of a mapping, None if there is none."""
    return next((one.SHORT for one in options.alternatives(wanted) if hasattr(one, "SHORT")), None)


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
                self.problems.append((line, f"duplicate key `{key}`, first in line {first}. Remove one of them."))
                _Reader(self.shown).value(value_node, ())  # refuses what cannot be read in it, too
                continue
            self.lines[(*place, key)] = line
            found[key] = self.value(value_node, (*place, key))
        return found


class Reader:
    """One file with its overrides, and what was found wrong in it so far.

    A mapping that a file shortens to one value (a declared class with `SHORT`, the name of that key) is written out.

    Args:
        file: The file.
        overrides: "query.passes" -> text of the value.
        wanted: The declared class of the file, where overrides may lead into what the file shortens.

    Attributes:
        values: The values of the file, overrides applied.
        problems: (place, message).
    """

    def __init__(self, file: YamlFile, overrides: Mapping[str, str], wanted: Any = Any):
        self.file, self.values = file, dict(file.values)
        self.problems: list[tuple[Place, str]] = []
        self._origins: dict[Place, str] = {}
        for name, text in overrides.items():
            self._override(name, text, wanted)

    def where(self, place: Place) -> str:
        """Returns "file:line" of a value, or the override that gave it."""
        for end in range(len(place), 0, -1):
            if place[:end] in self._origins:
                return self._origins[place[:end]]
        if place and place[:1] not in self.file.lines:  # a group that overrides alone have made
            for origin, text in self._origins.items():
                if origin[0] == place[0]:
                    return text
        return f"{self.file.path}:{self.file.line(place)}"

    def mapping(self, place: Place) -> dict[str, Any]:
        """Returns the mapping at a place, an empty one if there is none."""
        values: Any = self.values
        for part in place:
            values = values.get(part) if isinstance(values, dict) else None
        return values if isinstance(values, dict) else {}

    def problem(self, place: Place, text: str) -> None:
        """Notes what is wrong at a place."""
        self.problems.append((place, text))

    def raise_problems(self) -> None:
        """Raises `ConfigError` with all problems in the order of lines, if there are any."""
        found = [(line, f"{self.file.path}:{line}: {text}") for line, text in self.file.problems]
        found += [(self.file.line(place), f"{self.where(place)}: {text}") for place, text in self.problems]
        texts = list(dict.fromkeys(text for _, text in sorted(found, key=lambda pair: pair[0])))
        if texts:
            raise ConfigError(listed(self.file.path, texts))

    def read(self, wanted: Any, moved: Callable[[Place], str] = lambda place: "") -> Any:
        """Returns the values as an instance of a declared class, None if anything is wrong, which is noted.

        Args:
            wanted: The class.
            moved: See `fewslice.core.options.check`.
        """
        before = len(self.problems)
        found, problems = options.check(wanted, self._whole(wanted, self.values, ()), moved=moved)
        self.problems += problems
        return found if len(self.problems) == before else None

    def _whole(self, wanted: Any, value: Any, place: Place) -> Any:
        """Returns a value without abbreviations and with all options of what it names."""
        fields, short = options.fields_of(wanted), _short(wanted)
        if short and value is not None and not isinstance(value, dict):
            value = {short: value}
        kind = next((rule.kind for rule in typing.get_args(wanted)[1:] if isinstance(rule, Registered)), None)
        if kind and isinstance(value, (str, dict)):
            return self._named(kind, value, place) if short else self._known(kind, value, place)
        if isinstance(value, dict):
            return {name: self._whole(fields.get(name, Any), inner, (*place, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._whole(options.type_at(wanted, (n,)), item, (*place, n)) for n, item in enumerate(value)]
        return value

    def _known(self, kind: str, name: Any, place: Place) -> Any:
        names = registry.of(kind).names()
        if isinstance(name, str) and name not in names:
            self.problem(place, f"`{name_of(place)}`: {registry.unknown_name(kind, name, names)}")
        return name

    def _named(self, kind: str, value: dict[str, Any], place: Place) -> dict[str, Any]:
        given = dict(value)
        name = given.pop("name", None)
        if not isinstance(name, str):
            must = f"must be the name of a {kind}. Received: {options.shown(name)}."
            self.problem((*place, "name"), f"`{name_of((*place, 'name'))}` {must}")
            return {"name": ""}
        name = registry.of(kind).true_name(name)
        before = len(self.problems)
        self._known(kind, name, (*place, "name"))
        if len(self.problems) > before:
            return {"name": name}
        found, problems = options.registered_options(kind, name, registry.of(kind).get(name), given)
        for option, text in problems:
            self.problem((*place, *option), text)
        return {"name": name, "options": found}

    def _override(self, name: str, text: str, wanted: Any) -> None:
        place = tuple(name.strip().split("."))
        self._origins[place] = f"--set {name}={text}"
        target: Any = self.values
        for number, part in enumerate(place[:-1]):
            short = _short(options.type_at(wanted, place[: number + 1]))
            inner = target.get(part)
            if short and inner is not None and not isinstance(inner, dict):
                inner = {short: inner}
            if inner is not None and not isinstance(inner, dict):
                self.problem(place, f"`{part}` holds no keys.")
                return
            target[part] = dict(inner or {})
            target = target[part]
        try:
            target[place[-1]] = parse_value(text)
        except ConfigError as error:
            self.problem(place, str(error))
