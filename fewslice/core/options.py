"""Settings by name: which there are, of what type, and one check with one message for all that is wrong."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

REQUIRED = inspect.Parameter.empty
Known = dict[str, tuple[Any, Any]]
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def options_of(source: type | Callable) -> Known:
    """Returns what can be set, {option: (type, default)} in the order of definition.

    Args:
        source: A dataclass, or a function: then its parameters that can be given by keyword only. A parameter without
            annotation has the type of its default. A default that is `REQUIRED` has to be given.
    """
    hints = typing.get_type_hints(source)
    if dataclasses.is_dataclass(source):
        return {field.name: (hints[field.name], _default(field)) for field in dataclasses.fields(source) if field.init}
    found = {}
    for name, parameter in inspect.signature(source).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = parameter.default
            found[name] = hints.get(name, Any if default in (None, REQUIRED) else type(default)), default
    return found


def _default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return REQUIRED if field.default_factory is dataclasses.MISSING else field.default_factory()


def checked_options(kind: str, known: Known, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given options, whole numbers made floats where floats are asked for.

    Args:
        kind: Whose they are, for messages: "option of strategy 'mfc'".
        known: What can be set, of `options_of`.
        given: Option -> value.

    Raises:
        ConfigError: unknown options, each answered with the nearest known one, wrong types and missing options, all
            at once.
    """
    problems = [unknown_name(kind, name, known) for name in given if name not in known]
    missing = [name for name, (_, default) in known.items() if default is REQUIRED and name not in given]
    problems += [f"The {kind} {name!r} must be given." for name in missing]
    checked = {}
    for name, value in given.items():
        if name not in known:
            continue
        allowed = _alternatives(known[name][0])
        if not any(_fits(value, one) for one in allowed):
            wanted = " or ".join(_word(one) for one in allowed)
            problems.append(f"The {kind} {name!r} must be {wanted}. Received: {name}={value!r}")
        elif float in allowed and int not in allowed and _fits(value, float):
            value = float(value)
        checked[name] = value
    if problems:
        raise ConfigError("\n".join(problems))
    return checked


def _alternatives(wanted: Any) -> tuple[Any, ...]:
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        return tuple(one for part in typing.get_args(wanted) for one in _alternatives(part))
    if typing.get_origin(wanted) is typing.Literal:
        return typing.get_args(wanted)
    return (type(None) if wanted is None else wanted,)


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    if not isinstance(wanted, type):
        plain = typing.get_origin(wanted)
        return isinstance(value, plain) if plain else type(value) is type(wanted) and value == wanted
    if wanted in (int, float):
        kind = numbers.Integral if wanted is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _word(wanted: Any) -> str:
    if not isinstance(wanted, type):
        return str(wanted) if typing.get_origin(wanted) else repr(wanted)
    return _WORDS.get(wanted, wanted.__name__)
