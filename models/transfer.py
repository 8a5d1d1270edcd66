"""Weights by name: reading, writing and copying them between networks that share layers.

A weight is called "<layer>/<weight>", for instance "enc_c1_a/kernel" or "enc_c1_a_bn/moving_mean".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns every weight of `model` by name, moving statistics included, in order of creation.

    Raises:
        RuntimeError: two weights have the same name.
    """
    variables = {}
    for layer in model._flatten_layers(include_self=False, recursive=True):
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            name = f"{layer.name}/{variable.name}"
            if name in variables:
                raise RuntimeError(f"Two weights of {model.name!r} are called {name!r}.")
            variables[name] = variable
    return variables


def read_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the values of all weights of `model` by name, as NumPy copies."""
    return {name: np.array(keras.ops.convert_to_numpy(v)) for name, v in named_variables(model).items()}


def set_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Sets all weights of `model`.

    Raises:
        ValueError: `weights` lacks one, has one too many, or one has the wrong shape.
    """
    report = copy_by_name(model, weights)
    if report.missing or report.unused or report.mismatched:
        raise ValueError(f"The weights do not belong to this network ({model.name!r}). {report.summary()}")


@dataclasses.dataclass(frozen=True)
class TransferReport:
    """Report of `copy_by_name`.

    Attributes:
        copied: Names of the weights that were copied.
        missing: Weights of the network that the source does not have; they keep their values.
        unused: Weights of the source that the network does not have.
        excluded: Weights of the network that were left alone on request.
        mismatched: name -> (shape in the network, shape in the source) of weights that differ in shape.
    """

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    excluded: tuple[str, ...]
    mismatched: Mapping[str, tuple[tuple, tuple]]

    def summary(self) -> str:
        """Returns the report as text, weights grouped by layer."""
        parts = [f"copied {len(self.copied)} weights ({_layers(self.copied)})"]
        for names, why in (
            (self.missing, "not in the source, left at their initial values"),
            (self.excluded, "left alone as asked"),
            (self.unused, "in the source only"),
        ):
            if names:
                parts.append(f"{len(names)} {why} ({_layers(names)})")
        for name, (here, there) in self.mismatched.items():
            parts.append(f"{name} has shape {here} here and {there} in the source, not copied")
        return "; ".join(parts)


def _layers(names: Sequence[str]) -> str:
    layers = list(dict.fromkeys(name.split("/")[0].removesuffix("_bn") for name in names))
    return ", ".join(layers) if len(layers) <= 4 else f"{layers[0]} ... {layers[-1]}, {len(layers)} layers"


def copy_by_name(
    model: keras.Model, source: Mapping[str, np.ndarray], *, exclude: Sequence[str] = ()
) -> TransferReport:
    """Copies weights into `model` wherever name and shape agree.

    Args:
        model: Network to copy into.
        source: Weights by name, from `read_weights` or a weight file.
        exclude: Prefixes of layer names to leave alone.

    Returns:
        What was copied, what was not and why.

    Notes:
        Moving statistics are copied too; the published code copied trainable weights only, so that every
        stage started without.
    """
    copied, missing, excluded, mismatched = [], [], [], {}
    variables = named_variables(model)
    for name, variable in variables.items():
        if name.startswith(tuple(exclude)):
            excluded.append(name)
        elif name not in source:
            missing.append(name)
        elif tuple(variable.shape) != source[name].shape:
            mismatched[name] = (tuple(variable.shape), source[name].shape)
        else:
            variable.assign(source[name])
            copied.append(name)
    unused = tuple(name for name in source if name not in variables)
    return TransferReport(tuple(copied), tuple(missing), unused, tuple(excluded), mismatched)


def freeze(model: keras.Model, *prefixes: str) -> int:
    """Excludes the layers whose names start with a prefix from training. Returns how many weights that concerns.

    Their batch normalisation keeps using the statistics of the batch, as in the published code ("frozen"
    means that the optimiser leaves the weights alone).
    """
    count = 0
    for layer in model.layers:
        if layer.name.startswith(prefixes):
            count += len(layer.trainable_variables)
            layer.trainable = False
    return count
