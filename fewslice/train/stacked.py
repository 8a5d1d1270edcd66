"""Images that come one by one, in batches of one shape."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np


def batches_of(images: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches, so that a network is compiled once.

    Args:
        images: (height, width, channel) of each unit, or whatever else has one shape.
        size: Rows of a batch; the last one is filled up with zeros.

    Yields:
        (size, height, width, channel) float32, and how many rows are images.

    Example:
        >>> [(batch[:, 0].tolist(), count) for batch, count in batches_of(np.ones((3, 1)), 2)]
        [([1.0, 1.0], 2), ([1.0, 0.0], 1)]
    """
    units = iter(images)
    while chunk := list(itertools.islice(units, size)):
        filled = np.zeros((size, *chunk[0].shape), np.float32)
        for place, image in enumerate(chunk):
            filled[place] = image
        yield filled, len(chunk)
