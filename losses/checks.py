"""Checks of constructor arguments that several losses share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def positive(name: str, value: float) -> float:
    """Returns `value` as a float, or raises `ValueError` unless it is a positive finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"`{name}` must be a positive finite number. Received: {name}={value}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """Returns `value` as a float, or raises `ValueError` if it is negative or not finite."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"`{name}` must not be negative or infinite. Received: {name}={value}")
    return float(value)


def at_least(name: str, value: int, least: int) -> int:
    """Returns `value` as an integer, or raises `ValueError` unless it is one of at least `least`."""
    if value != int(value) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={value}")
    return int(value)


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Returns `value`, or raises `ValueError` unless it is one of the `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value
