"""What the tests of the networks share."""

from __future__ import annotations

import keras
import numpy as np

from models.transfer import named_variables


def size(variables):
    """Returns how many numbers the variables hold."""
    return sum(int(np.prod(variable.shape)) for variable in variables)


def number(tensor):
    """Returns the values as a NumPy array of their own."""
    return np.array(keras.ops.convert_to_numpy(tensor))


def shaken(model):
    """Gives every weight, moving statistics included, a value that is neither 0 nor 1."""
    rng = np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        shape = tuple(variable.shape)
        if name.endswith("kernel"):
            variable.assign(rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1])))
        else:
            variable.assign(rng.uniform(0.5, 1.5, shape))
    return model
