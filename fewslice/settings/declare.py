"""How a setting is declared: once, as a field of a frozen dataclass, with type, range, default and help.

    @declared
    class Segmentation:
        lr_seg: Annotated[Positive, "Learning rate of the segmentation."] = 0.001

A text in the `Annotated` type is the help; `Help` says more.

Command-line flags (`fewslice.settings.flags`) and the attributes of `init_` files (`fewslice.settings.datasets`) are
made from such classes without importing pydantic, so that `--help` answers at once; experiment files are checked
against them by pydantic.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, dataclass_transform

from annotated_types import Ge, Gt, Le, Lt

from fewslice.core.options import describe, hints_of

Switch = Literal[0, 1]
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]
_BOUNDS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


@dataclasses.dataclass(frozen=True)
class Help:
    """What a setting is for, and what it takes part in; stands in the `Annotated` type of a field.

    Attributes:
        text: For `--help` and the tables of the documentation.
        in_digest: Whether the value decides what a run computes. "unless default": a setting that came later; at its
            default it is no part of the digest, so that earlier runs keep theirs.
        finds_upstream: Whether the run that a stage starts from is looked for by this value: "also"; "only" where the
            stage does nothing else with it; "prefers" where it decides between several. A name `pretr_x` stands for
            the setting `x` of that run.
        no_effect: Why the value changes nothing, "" if it does.
    """

    text: str
    in_digest: bool | Literal["unless default"] = True
    finds_upstream: Literal["", "also", "only", "prefers"] = ""
    no_effect: str = ""


Aside = functools.partial(Help, in_digest=False)  # for places, lengths and the like
Later = functools.partial(Help, in_digest="unless default")


@dataclasses.dataclass(frozen=True)
class Must:
    """A rule that the bounds of `annotated_types` cannot express.

    Attributes:
        is_right: Whether a value is allowed.
        text: What an allowed value is, for the message "`name` must be <text>".
        remedy: Returns what to write in place of a value that is wrong, in a sentence.
    """

    is_right: Callable[[Any], bool]
    text: str
    remedy: Callable[[Any], str] = lambda value: ""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: Any) -> Any:
            if not self.is_right(value):
                raise PydanticCustomError("must", "Input should be {text}", {"text": self.text})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


@dataclasses.dataclass(frozen=True)
class _Inherited:
    default: Any
    changes: Mapping[str, Any]


def inherited(default: Any = dataclasses.MISSING, **changes: Any) -> Any:
    """Stands in a declared class for an inherited setting with another default or other attributes of its `Help`."""
    return _Inherited(default, changes)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def declared(cls: type) -> type:
    """Makes a class a frozen dataclass, all of whose fields are given by name; files may hold no other keys.

    A plain value in the body, such as `n_iter = 15001`, is another default of an inherited setting.
    """
    own = cls.__dict__.get("__annotations__", {})
    for base in filter(dataclasses.is_dataclass, cls.__mro__[1:]):
        for field in dataclasses.fields(base):
            if field.name in vars(cls) and field.name not in own:
                own = own | {field.name: _inherit(cls, field, hints_of(base)[field.name])}
    cls.__annotations__ = own
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__pydantic_config__ = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
    return made


def _inherit(cls: type, field: dataclasses.Field, hint: Any) -> Any:
    """Returns the type of an inherited setting with the changes that stand in the body of `cls`."""
    value = vars(cls)[field.name]
    if not isinstance(value, _Inherited):
        return hint
    setattr(cls, field.name, field.default if value.default is dataclasses.MISSING else value.default)
    kind, *rules, about = _parts(hint)
    return Annotated[(kind, *rules, dataclasses.replace(about, **value.changes))]


def _parts(hint: Any) -> list[Any]:
    """Returns the type, the rules and the `Help` of an annotation; None in place of the last if it has no help."""
    kind, *metadata = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    about = next((each for each in metadata if isinstance(each, (str, Help))), None)
    return [kind, *(each for each in metadata if each is not about), Help(about) if isinstance(about, str) else about]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A declared setting.

    Attributes:
        kind: Its type: bool, int, float, str, a `Literal`, or a tuple of these.
        default: Its default; `dataclasses.MISSING` if it must be given.
        optional: Whether None is allowed.
    """

    name: str
    kind: Any
    default: Any
    help: Help
    optional: bool
    rules: tuple[Any, ...]

    def problem(self, value: Any, shown: Callable[[Any], str] = str) -> str:
        """Returns the mistake in a value, in a sentence; "" if it is right."""
        fits = _fits(self.kind, value) and all(_obeys(rule, value) for rule in self.rules)
        if fits or (value is None and self.optional):
            return ""
        return f"`{self.name}` must be {describe(self.kind, self.rules)}. Received: {self.name}={shown(value)}"


@functools.cache
def settings_of(cls: type) -> Mapping[str, Setting]:
    """Returns the settings of a declared class by name: its fields with a help."""
    found = {}
    for field in dataclasses.fields(cls):
        kind, *rules, about = _parts(hints_of(cls)[field.name])
        if about is not None:
            is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
            kinds = typing.get_args(kind) if is_union else (kind,)
            optional = type(None) in kinds
            found[field.name] = Setting(field.name, kinds[0], field.default, about, optional, tuple(rules))
    return types.MappingProxyType(found)


def plain(value: Any) -> Any:
    """Returns settings as nested dicts and lists, without those that came later and are at their default."""
    if dataclasses.is_dataclass(value):
        found = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        later = [each for each in settings_of(type(value)).values() if each.help.in_digest == "unless default"]
        dropped = [each.name for each in later if found[each.name] == each.default]
        return {name: plain(each) for name, each in found.items() if name not in dropped}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return {name: plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def _obeys(rule: Any, value: Any) -> bool:
    if isinstance(rule, Must):
        return rule.is_right(value)
    return all(is_right(value, getattr(rule, name)) for name, is_right in _BOUNDS.items() if hasattr(rule, name))


def _fits(kind: Any, value: Any) -> bool:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple and isinstance(value, tuple):
        parts = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(parts) == len(value) and all(map(_fits, parts, value))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return origin is None and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
