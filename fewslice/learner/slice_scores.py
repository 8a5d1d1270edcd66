"""What a trained segmentation network says about the slices of a pool: how unsure it is, and its gradients."""

from __future__ import annotations

import keras
import numpy as np

from fewslice.active.slices import SliceStack
from fewslice.learner.scores import pool_scores


def score_slices(network: keras.Model, slices: SliceStack, *, score: str, batch_size: int) -> np.ndarray:
    """Returns the (N,) float64 scores of all slices, means over pixels; larger is more uncertain.

    Args:
        network: Of `segmentation_network`.
        slices: Their images.
        score: A registered uncertainty.
        batch_size: Slices at a time.
    """
    return pool_scores([network], slices, [score], batch_size=batch_size)[score]
