"""Settings by name, and images in batches. Expected values: by hand."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.core.options import REQUIRED, checked_options, options_of


@dataclasses.dataclass
class Settings:
    count: int
    rate: float = 0.5
    names: list[str] = dataclasses.field(default_factory=list)
    mode: Literal["a", "b"] | None = None


def test_a_class_and_a_function_say_what_can_be_set():
    known = options_of(Settings)
    assert {name: default for name, (_, default) in known.items()} == {
        "count": REQUIRED,
        "rate": 0.5,
        "names": [],
        "mode": None,
    }

    def function(query, *, step=1, size: int | str = "all", free=None):
        return query, step, size, free

    assert options_of(function) == {"step": (int, 1), "size": (int | str, "all"), "free": (Any, None)}


def test_values_that_fit():
    known = options_of(Settings)
    found = checked_options("option", known, {"count": np.int64(3), "rate": 1, "names": ["x"], "mode": "b"})
    assert found == {"count": 3, "rate": 1.0, "names": ["x"], "mode": "b"} and type(found["rate"]) is float


@pytest.mark.parametrize("given, words", [
    ({}, "option 'count' must be given"),
    ({"count": 1.0}, "'count' must be a whole number. Received: count=1.0"),
    ({"count": True}, "'count' must be a whole number. Received: count=True"),
    ({"count": 1, "rate": "0.1"}, "'rate' must be a number. Received: rate='0.1'"),
    ({"count": 1, "mode": "c"}, "'mode' must be 'a' or 'b' or null. Received: mode='c'"),
    ({"count": 1, "names": "x"}, r"'names' must be list\[str\]"),
    ({"cuont": 1}, "Unknown option 'cuont'. Did you mean 'count'(.|\n)*'count' must be given"),
])  # fmt: skip
def test_values_that_do_not_fit(given, words):
    with pytest.raises(ConfigError, match=words):
        checked_options("option", options_of(Settings), given)
