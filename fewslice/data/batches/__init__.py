"""Training batches, each a pure function of (seed, epoch, step). Only `steps` knows Keras."""

from __future__ import annotations

import numpy as np


def generator(seed: int, epoch: int, step: int) -> np.random.Generator:
    """Returns the source of randomness of one training step."""
    return np.random.default_rng([seed, epoch, step])
