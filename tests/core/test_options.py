"""Options against their declared types. Expected values: by hand."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le

from fewslice.core.errors import ConfigError
from fewslice.core.options import REQUIRED, checked_options, describe, options_of


@dataclasses.dataclass
class Settings:
    count: int
    rate: float = 0.5
    names: list[str] = dataclasses.field(default_factory=list)
    mode: Literal["a", "b"] | None = None


def test_a_class_and_a_function_say_what_can_be_set():
    known = options_of(Settings)
    found = {name: default for name, (_, default) in known.items()}
    assert found == {"count": REQUIRED, "rate": 0.5, "names": [], "mode": None}

    def function(query, *, step=1, size: int | str = "all", free=None):
        return query, step, size, free

    assert options_of(function) == {"step": (int, 1), "size": (int | str, "all"), "free": (Any, None)}


def test_values_that_fit():
    known = options_of(Settings)
    found = checked_options("option", known, {"count": np.int64(3), "rate": 1, "names": ["x"], "mode": "b"})
    assert found == {"count": 3, "rate": 1.0, "names": ["x"], "mode": "b"} and type(found["rate"]) is float
    found = checked_options("option", known, {"count": 1e4})
    assert found == {"count": 10_000} and type(found["count"]) is int


@pytest.mark.parametrize("given, words", [
    ({}, "option 'count' must be given: a whole number"),
    ({"count": 1.5}, "'count' must be a whole number. Received: 1.5"),
    ({"count": True}, "'count' must be a whole number. Received: true"),
    ({"count": 1, "rate": "0.1"}, "'rate' must be a number. Received: '0.1'. Write it without quotes"),
    ({"count": 1, "rate": float("nan")}, "'rate' must be a number. Received: nan"),
    ({"count": 1, "mode": "c"}, "'mode' must be one of a, b, or null. Received: 'c'"),
    ({"count": 1, "names": "x"}, "'names' must be a list, each item a text. Received: 'x'"),
    ({"cuont": 1}, "Unknown option 'cuont'. Did you mean 'count'(.|\n)*'count' must be given"),
])  # fmt: skip
def test_values_that_do_not_fit(given, words):
    with pytest.raises(ConfigError, match=words):
        checked_options("option", options_of(Settings), given)


@pytest.mark.parametrize("kind, words", [
    (Annotated[int, Ge(1)], "a whole number, 1 or larger"),
    (Annotated[float | None, Gt(0), Le(1)], "a number above 0, at most 1, or null"),
    (tuple[int, int] | None, "[a whole number, a whole number], or null"),
    (Literal[1, 3], "1 or 3"),
    (int | Literal["all"], "a whole number or one of all"),
])  # fmt: skip
def test_types_in_words(kind, words):
    assert describe(kind) == words
