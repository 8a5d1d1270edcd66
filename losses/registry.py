"""Where losses are registered, so that flags and saved configurations can name them."""

from __future__ import annotations

from collections.abc import Callable

import keras

from fewslice.core.registry import Registry

LOSSES = Registry("loss")


def register(name: str) -> Callable[[type], type]:
    """Returns a decorator that registers a loss class under `name`, here and with Keras' serialization.

    Raises:
        RuntimeError: If the name is taken.
    """

    def decorate(cls: type) -> type:
        return keras.saving.register_keras_serializable(package="fewslice")(LOSSES.register(name)(cls))

    return decorate
