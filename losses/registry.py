"""Where losses are registered, so that flags and saved configurations can name them, and their base class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras

from fewslice.core.registry import Registry

LOSSES = Registry("loss")


def register(name: str) -> Callable[[type], type]:
    """Returns a decorator that registers a loss class under `name`, here and with Keras' serialization.

    Raises:
        RuntimeError: If the name is taken.
    """

    def decorate(cls: type) -> type:
        cls.registered_name = name
        return keras.saving.register_keras_serializable(package="fewslice")(LOSSES.register(name)(cls))

    return decorate


class Loss(keras.losses.Loss):
    """A Keras loss that computes in float32, also under mixed precision, so that ids and labels stay exact.

    Each argument of a subclass's constructor is kept as the attribute of its name; `get_config` collects them.

    Args:
        **kwargs: `name` (by default the registered one), `reduction` and `dtype` of `keras.losses.Loss`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"name": self.registered_name, "dtype": "float32", **kwargs})

    def get_config(self) -> dict[str, Any]:
        parameters = inspect.signature(type(self)).parameters.values()
        own = {p.name: getattr(self, p.name) for p in parameters if p.kind is not p.VAR_KEYWORD}
        return {**super().get_config(), **own, "dtype": self.dtype}
