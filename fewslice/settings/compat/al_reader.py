"""From the values of an experiment file to the dataclasses of its groups; every problem is noted with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.settings import yaml as yaml_files
from fewslice.settings.compat.al_groups import GROUPS, INNER
from fewslice.settings.compat.al_schema import REQUIRED, ItemError, Key, default_of, keys_of
from fewslice.settings.yaml import Place, YamlFile


def name_of(place: Place) -> str:
    """Returns "policy.seed" for ("policy", "seed")."""
    return ".".join(map(str, place))


class Reader:
    """One file with its overrides, and what was found wrong in it so far.

    Args:
        file: The file.
        overrides: "policy.seed" -> text of the value.

    Attributes:
        values: The values of the file, overrides applied.
        problems: (place, message).
        notes: What has no influence, in words.
        written: Places of the keys that the file or an override gives.
    """

    def __init__(self, file: YamlFile, overrides: Mapping[str, str]):
        self.file, self.values = file, dict(file.values)
        self.problems: list[tuple[Place, str]] = []
        self.notes: list[str] = []
        self.written: set[Place] = set()
        self._origins: dict[Place, str] = {}
        for name, text in overrides.items():
            self._override(name, text)

    def where(self, place: Place) -> str:
        """Returns "file:line" of a value, or the override that gave it."""
        for end in range(len(place), 0, -1):
            if place[:end] in self._origins:
                return self._origins[place[:end]]
        return f"{self.file.path}:{self.file.line(place)}"

    def problem(self, place: Place, text: str) -> None:
        """Notes what is wrong at a place."""
        self.problems.append((place, text))

    def raise_problems(self) -> None:
        """Raises `ConfigError` with all problems in the order of lines, if there are any."""
        found = [(line, f"{self.file.path}:{line}: {text}") for line, text in self.file.problems]
        found += [(self.file.line(place), f"{self.where(place)}: {text}") for place, text in self.problems]
        texts = list(dict.fromkeys(text for _, text in sorted(found, key=lambda pair: pair[0])))
        if len(texts) == 1:
            raise ConfigError(texts[0])
        if texts:
            listed = "\n".join(f"  - {text}" for text in texts)
            raise ConfigError(f"{self.file.path} has {len(texts)} problems:\n{listed}")

    def mapping(self, place: Place) -> dict[str, Any] | None:
        """Returns the mapping at a place, None if it is absent, null or (which is noted) something else."""
        value: Any = self.values
        for part in place:
            value = value.get(part) if isinstance(value, dict) else None  # what contains it is wrong then
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problem(place, f"`{name_of(place)}` must hold keys with values. Received: {value!r}")
            return None
        return value

    def group(self, place: Place, group: type, *, kind: str = "", others: Sequence[str] = ()) -> dict[str, Any]:
        """Returns the checked values of a group, with the defaults of its type; wrong ones have their default.

        Args:
            place: Where the group is.
            group: Its dataclass.
            kind: Its type, for keys that do not count for every one.
            others: Keys that somebody else reads.
        """
        given, keys = self.mapping(place) or {}, keys_of(group)
        unknown = [name for name in given if name not in keys and name not in others]
        counting = [name for name, key in keys.items() if not (key.types and kind and kind not in key.types)]
        for name in unknown:
            self.problem((*place, name), self._unknown(name, place, (*counting, *others)))
        found = {}
        for name, key in keys.items():
            at = (*place, name)
            if key.group is not None:
                found[name] = key.group(**self.group(at, key.group, kind=kind))
            else:
                default = key.by_type.get(kind, default_of(group, name))
                found[name] = self.read(at, given[name], key, default) if name in given else default
            if name in given:
                self.written.add(at)
                self._check_type(at, key, kind)
            elif found[name] is REQUIRED:
                self.problem(place, f"`{name_of(at)}` is missing; it must be {key.must}.")
        return found

    def read(self, place: Place, value: Any, key: Key, default: Any) -> Any:
        """Returns the checked value, or the default if it is wrong, which is noted."""
        if value is None and key.optional:
            return None
        try:
            return key.read(value)
        except ItemError as error:
            self.problem((*place, error.item), str(error))
            return default
        except ValueError as error:
            remedy = f" {error}" if str(error) else ""
            received = "" if str(error).startswith("Unknown value") else f" Received: {_shown(value)}."
            self.problem(place, f"`{name_of(place)}` must be {key.must}.{received}{remedy}")
            return default

    def _check_type(self, place: Place, key: Key, kind: str) -> None:
        if key.types and kind and kind not in key.types:
            counts = " or ".join(key.types)
            self.problem(place, f"`{name_of(place)}` counts only for {counts}, and this is {kind}. Remove it.")
        elif key.unused:
            self.notes.append(f"{name_of(place)} ({self.where(place)}) has no effect: {key.unused}.")

    def _unknown(self, name: str, place: Place, known: Sequence[str]) -> str:
        for group, dataclass in {**GROUPS, **INNER}.items():
            if name in keys_of(dataclass) and tuple(group.split(".")) != place:
                return f"The key {name!r} stands in the group `{group}`. Move it there."
        if name == "exp_dir":
            return "`exp_dir` stands at the beginning of a line, in no group. Move it there."
        return unknown_name(f"key of {name_of(place)}" if place else "group", name, known)

    def _override(self, name: str, text: str) -> None:
        place = tuple(name.strip().split("."))
        self._origins[place] = f"{name}={text}"
        target = self.values
        for part in place[:-1]:
            inner = target.get(part)
            if inner is not None and not isinstance(inner, dict):
                self.problem(place, f"`{part}` holds no keys.")
                return
            target[part] = dict(inner or {})
            target = target[part]
        try:
            target[place[-1]] = yaml_files.parse_value(text)
        except ConfigError as error:
            self.problem(place, str(error))


def _shown(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
