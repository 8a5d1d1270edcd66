"""Structure ids, the `y_true` of a contrastive loss: the integer place of each row of the batch in the data.

Every row (an image, or the map of an image) has three ids, in this order:

    volume_slot  which of the volumes of this batch, 0, 1, ... without gaps (of the images, where images are drawn
                 without regard to volumes)
    partition    which of the n_parts equal stretches of the volume along its depth
    view         which version of the image: 0 the first or the original, 1, 2 its augmentations

A row with a negative volume_slot is padding: neither anchor nor positive nor negative. Keras hands `y_true` over as
float32, which is exact for integers up to 2**24.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

COLUMNS = ("slot", "partition", "view")


def split_ids(ids: Any, names: str = "volume_slot, partition, view") -> tuple[Any, Any, Any]:
    """Returns volume_slot, partition and view, or three other ids, each (N,) int32.

    Args:
        ids: (N, 3) structure ids, any dtype.
        names: What they are, for the message.

    Raises:
        ValueError: If the last axis has not three entries.
    """
    ids = ops.convert_to_tensor(ids)
    if len(ids.shape) != 2 or ids.shape[-1] not in (None, 3):
        raise ValueError(
            f"`y_true` must hold the structure ids ({names}) of each row, "
            f"shape (rows, 3). Received: y_true.shape={tuple(ids.shape)}"
        )
    ids = ops.cast(ids, "int32")
    return ids[:, 0], ids[:, 1], ids[:, 2]


def equal(x: Any) -> Any:
    """Returns the (N, N) boolean matrix x[a] == x[b]."""
    return x[:, None] == x[None, :]


def both(x: Any) -> Any:
    """Returns the (N, N) boolean matrix x[a] and x[b]."""
    return x[:, None] & x[None, :]


def per_pair(positives: Any) -> Any:
    """Returns the factor N / number of pairs, by which sums of each row's terms get their mean over pairs as mean.

    Args:
        positives: (N, N) float, symmetric, 1 for a positive pair.
    """
    num_rows = ops.cast(ops.shape(positives)[0], positives.dtype)
    return num_rows / ops.maximum(ops.sum(positives) / 2.0, 1.0)


def layout(order: tuple[str, str, str], *, slot: int, partition: int, view: int) -> np.ndarray:
    """Returns the (N, 3) int32 ids of all combinations, `order` naming the columns from slowest to fastest.

    Raises:
        ValueError: If a number is below one.

    >>> layout(("view", "slot", "partition"), slot=1, partition=2, view=2).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
    """
    sizes = {"slot": slot, "partition": partition, "view": view}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"The number of {name}s must be at least 1. Received: {size}")
    grids = np.meshgrid(*(np.arange(sizes[name]) for name in order), indexing="ij")
    columns = dict(zip(order, grids, strict=True))
    return np.stack([columns[name].ravel() for name in COLUMNS], axis=-1).astype(np.int32)
