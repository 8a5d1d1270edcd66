"""Values against declared types: what can be set, and one check that finds everything wrong at once.

Types are those of dataclasses, or of the keyword-only parameters of a function, with the bounds of `annotated_types`.
pydantic does the work, and is imported at the first check; the messages say in words what a value must be.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

REQUIRED = inspect.Parameter.empty
Known = dict[str, tuple[Any, Any]]
Place = tuple[str | int, ...]
_STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False, "arbitrary_types_allowed": True}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
_MEANT = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_ABSENT = object()


@functools.lru_cache(512)
def hints_of(source: type | Callable) -> dict[str, Any]:
    """Returns the annotations of a class or a function by name, with what `Annotated` adds to them."""
    return typing.get_type_hints(source, include_extras=True)


def options_of(source: type | Callable) -> Known:
    """Returns {option: (type, default)} in the order of definition.

    Args:
        source: A dataclass, or a function or another class: then its parameters that can be given by keyword only. A
            parameter without annotation has the type of its default. A default that is `REQUIRED` has to be given.
    """
    is_class = isinstance(source, type) and not dataclasses.is_dataclass(source)
    source = source.__init__ if is_class else source
    hints, found = hints_of(source), {}
    if dataclasses.is_dataclass(source):
        for field in [field for field in dataclasses.fields(source) if field.init]:
            default = REQUIRED if field.default is dataclasses.MISSING else field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            found[field.name] = hints[field.name], default
        return found
    for name, parameter in inspect.signature(source).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = parameter.default
            found[name] = hints.get(name, Any if default in (None, REQUIRED) else type(default)), default
    return found


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
    checked, problems = check(as_type(known), given, kind=kind)
    if problems:
        raise ConfigError("\n".join(text for _, text in problems))
    return {name: getattr(checked, name) for name in given}


def registered_options(
    kind: str, name: str, registered: Any, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[Place, str]]]:
    """Checks the options of a registered object, which are its parameters that can be given by keyword only.

    If it has an attribute `options_class`, they are the fields of that dataclass, which may refuse values that do not
    fit each other; if it is a dataclass itself, they are its fields.

    Returns:
        All its options, given or not, as plain values, but those that came later (`fewslice.settings.declare.Later`)
        and are at their default; and (place, what is wrong).
    """
    of_class = getattr(registered, "options_class", None)
    checked, problems = check(_type_of(of_class or registered), given, kind=f"option of {kind} {name!r}")
    if problems:
        return {}, problems
    found = vars(checked)
    if of_class is not None:
        try:
            of_class(**found)
        except ConfigError as error:
            texts = str(error).splitlines()
            is_meant = lambda one, text: f"`{one}`" in text or text.startswith(f"Unknown {one} ")  # noqa: E731
            return {}, [(tuple(one for one in given if is_meant(one, text))[:1], text) for text in texts]
    later = [
        each.name
        for each in dataclasses.fields(checked)
        if any(getattr(rule, "in_digest", "") == "unless default" for rule in _without_rules(each.type)[1])
        and found[each.name] == each.default_factory()
    ]
    found = {name: value for name, value in found.items() if name not in later}
    return json.loads(json.dumps(found, default=_plain)), []


def as_type(known: Known, base: type | None = None) -> type:
    """Returns a frozen dataclass with these options, and those of a frozen `base`."""
    fields = [
        (name, kind)
        if default is REQUIRED
        else (name, kind, dataclasses.field(default_factory=lambda value=default: value))
        for name, (kind, default) in known.items()
    ]
    made = dataclasses.make_dataclass("Options", fields, bases=(base,) if base else (), frozen=True, kw_only=True)
    made.__pydantic_config__ = _STRICT
    return made


@functools.lru_cache(256)
def _type_of(source: type | Callable) -> type:
    return as_type(options_of(source))


@functools.lru_cache(256)
def _adapter(wanted: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(wanted)


def check(
    wanted: Any, values: Any, *, kind: str = "", moved: Callable[[Place], str] = lambda place: ""
) -> tuple[Any, list[tuple[Place, str]]]:
    """Checks values as a file holds them, nested dicts and lists of plain values.

    Args:
        wanted: A dataclass (`fewslice.settings.declare`, `as_type`).
        values: What was given.
        kind: What keys are called in messages, such as "option of strategy 'mfc'"; "" is "key of <group>".
        moved: Place of an unknown key -> where it belongs, in a sentence; "" if nobody knows.

    Returns:
        An instance of `wanted`, None if anything is wrong; and (place, what is wrong in words) in the order of fields.
    """
    from pydantic import ValidationError

    text = json.dumps(values, default=_plain)
    try:
        return _adapter(wanted).validate_json(text), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    whole = [(place, value) for place, value in _whole_floats(errors, values) if float(value).is_integer()]
    if whole:  # 1e4 is a whole number, too
        values = json.loads(text)
        for (*outer, last), value in whole:
            _at(values, tuple(outer))[last] = int(value)
        return check(wanted, values, kind=kind, moved=moved)
    problems: dict[Place, str] = {}
    for each in errors:
        is_key = each["type"] in _UNKNOWN + _MISSING
        place = _place(each["loc"], values, keeps_last=is_key)
        if any(place[: len(other)] == other for other in problems):
            continue  # another branch of a union
        of_type = type_at(wanted, place)
        subject, must = f"The {kind} {name_of(place)!r}" if kind else f"`{name_of(place)}`", describe(of_type)
        if each["type"] in _UNKNOWN:
            called = kind or "key" + (f" of {name_of(place[:-1])}" if place[:-1] else "")
            known = fields_of(type_at(wanted, place[:-1]))
            problems[place] = moved(place) or unknown_name(called, str(place[-1]), known)
        elif each["type"] in _MISSING:
            problems[place] = f"{subject} must be given{'' if must == 'anything' else f': {must}'}."
        else:
            value = _at(values, place)
            problems[place] = f"{subject} must be {must}. Received: {shown(value)}. {_remedy(of_type, value)}".rstrip()
    unknown_first = sorted(problems.items(), key=lambda item: not item[1].startswith("Unknown"))
    return None, unknown_first if kind else list(problems.items())


def name_of(place: Place) -> str:
    """Returns "policy.seed" for ("policy", "seed"), "rounds[2].add" for ("rounds", 2, "add")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def shown(value: Any) -> str:
    """Returns a value as a file would hold it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def fields_of(wanted: Any) -> dict[str, Any]:
    """Returns the keys of a dataclass with their types; of other types none."""
    for one in alternatives(wanted):
        if dataclasses.is_dataclass(one):
            return {field.name: hints_of(one)[field.name] for field in dataclasses.fields(one)}
    return {}


def type_at(wanted: Any, place: Place) -> Any:
    """Returns the declared type of what stands at a place, `Any` where nothing is declared."""
    for part in place:
        if isinstance(part, str):
            wanted = fields_of(wanted).get(part, Any)
        else:
            lists = [one for one in alternatives(wanted) if typing.get_origin(one) in (tuple, list)]
            items = typing.get_args(lists[0]) if lists else (Any, ...)
            wanted = items[0] if items[-1] is ... else items[min(part, len(items) - 1)]
    return wanted


def alternatives(wanted: Any) -> tuple[Any, ...]:
    """Returns the members of a union, without `Annotated` and what it adds."""
    if typing.get_origin(wanted) is typing.Annotated:
        return alternatives(typing.get_args(wanted)[0])
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        return tuple(one for part in typing.get_args(wanted) for one in alternatives(part))
    return (type(None) if wanted is None else wanted,)


def describe(wanted: Any, rules: Sequence[Any] = ()) -> str:
    """Returns the description of the values of a type, in words; `rules` bound it further.

    >>> from typing import Annotated, Literal
    >>> from annotated_types import Ge, Le
    >>> describe(Annotated[int, Ge(0), Le(4)]), describe(Literal["a", "b"]), describe(tuple[int, ...] | None)
    ('a whole number from 0 to 4', 'one of a, b', 'a list, each item a whole number, or null')
    """
    wanted, rules = _without_rules(wanted, rules)
    for rule in rules:
        if hasattr(rule, "is_right"):  # `fewslice.settings.declare.Must`
            return rule.text + (", or null" if type(None) in alternatives(wanted) else "")
    is_union = typing.get_origin(wanted) in (types.UnionType, typing.Union)
    words = [describe(one, rules) for one in typing.get_args(wanted)] if is_union else [_word(wanted, rules)]
    return ", or ".join(words) if any("," in word for word in words) else " or ".join(words)


def _without_rules(wanted: Any, rules: Sequence[Any] = ()) -> tuple[Any, tuple[Any, ...]]:
    """Returns a type without `Annotated`, and what that adds."""
    while typing.get_origin(wanted) is typing.Annotated:
        wanted, *more = typing.get_args(wanted)
        rules = (*rules, *more)
    return type(None) if wanted is None else wanted, tuple(rules)


def _word(wanted: Any, rules: Sequence[Any]) -> str:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        names = [part if isinstance(part, str) else shown(part) for part in parts]
        return " or ".join(names) if len(names) < 3 and not isinstance(parts[0], str) else "one of " + ", ".join(names)
    if origin in (tuple, list):
        if origin is list or parts[-1] is ...:
            return f"a list, each item {describe(parts[0])}"
        return f"[{', '.join(describe(part) for part in parts)}]"
    if fields_of(wanted):
        short = getattr(wanted, "SHORT", None)
        return f"{describe(fields_of(wanted)[short])}, or keys with values" if short else "keys with values"
    if origin is not None or wanted not in (int, float):
        return "anything" if wanted is Any else _WORDS.get(wanted, getattr(wanted, "__name__", str(wanted)))
    bounds = {name: getattr(rule, name) for rule in rules for name in ("gt", "ge", "lt", "le") if hasattr(rule, name)}
    text = "a positive number" if bounds == {"gt": 0} else _WORDS[wanted] + _range(bounds)
    multiples = [rule.multiple_of for rule in rules if hasattr(rule, "multiple_of")]
    return f"{text}, a multiple of {multiples[0]}" if multiples else text


def _range(bounds: Mapping[str, float]) -> str:
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}" if max(abs(low), abs(high)) < 1e6 else f" from {low} to {high}"
    if low is not None and len(bounds) == 1:
        return f", {low} or larger"
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "at most"}
    texts = [f"{words[name]} {bound:g}" for name, bound in bounds.items()]
    return (" " if texts else "") + ", ".join(texts)


def _remedy(wanted: Any, value: Any) -> str:
    kinds = alternatives(wanted)
    own = [rule.remedy for rule in _without_rules(wanted)[1] if hasattr(rule, "remedy")]
    if own and isinstance(value, tuple(one for one in kinds if isinstance(one, type))):
        return own[0](value)
    words = [part for one in kinds if typing.get_origin(one) is typing.Literal for part in typing.get_args(one)]
    near = difflib.get_close_matches(str(value), [str(part) for part in words], n=1, cutoff=0.5)
    if near and isinstance(value, str):
        return f"Did you mean {near[0]!r}?"
    if bool in kinds and str(value).lower() in _MEANT:
        return f"Write {_MEANT[str(value).lower()]}."
    if str in kinds and not isinstance(value, str):
        return "Put it in quotes." if value is not None else "" if own else 'Write "" for none.'
    if isinstance(value, str) and {int, float} & set(kinds):
        try:
            float(value.replace(",", "."))
        except ValueError:
            return ""
        return "Write the decimal point as a dot." if "," in value else "Write it without quotes."
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else {"no plain value": repr(value)}


def _place(location: tuple, values: Any, *, keeps_last: bool) -> Place:
    """Returns where an error is in the values; pydantic's location also holds the branches of unions."""
    place: list[str | int] = []
    for number, part in enumerate(location):
        inner = _at(values, (part,))
        if inner is not _ABSENT:
            place.append(part)
            values = inner
        elif keeps_last and number == len(location) - 1:
            place.append(part)
    return tuple(place)


def _at(values: Any, place: Place) -> Any:
    for part in place:
        is_mapping = isinstance(values, Mapping) and part in values
        is_list = isinstance(values, (list, tuple)) and isinstance(part, int) and part < len(values)
        if not (is_mapping or is_list):
            return _ABSENT
        values = values[part]
    return values


def _whole_floats(errors: list, values: Any) -> list[tuple[Place, float]]:
    wrong = [each for each in errors if each["type"] in ("int_type", "int_from_float")]
    places = [_place(each["loc"], values, keeps_last=False) for each in wrong]
    return [(place, _at(values, place)) for place in places if type(_at(values, place)) is float]
