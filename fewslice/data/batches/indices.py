"""Which slices of which volumes make a batch: uniform over slices, or one slice per partition of each volume.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511. A volume is cut into `n_parts` partitions of
consecutive slices; slices of one partition show about the same anatomy in every volume, since volumes are
roughly aligned along depth.

Notes:
    Differs from the published code in three ways. There partitions had floor(depth / n_parts) slices each, so
    the last depth mod n_parts slices were never drawn (`published=True` gives that). Rows for which there
    were no volumes stayed black; here asking for more volumes than there are raises. And the volumes of one
    batch were drawn in two calls, so a volume could be its own partner; here each is drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewslice.core.errors import ConfigError


def partition_edges(depth: int, n_parts: int, *, published: bool = False, name: str = "the volume") -> np.ndarray:
    """Returns where the partitions of a volume begin and end.

    Args:
        depth: Slices of the volume.
        n_parts: Partitions.
        published: False: partition k holds slices floor(k * depth / n_parts) up to the next edge, so sizes
            differ by one at most and every slice belongs to one. True: floor(depth / n_parts) slices each,
            the rest is left out.
        name: What to call the volume in a message.

    Returns:
        (n_parts + 1,) int64, increasing; partition k is [edges[k], edges[k + 1]).

    Raises:
        ConfigError: Fewer slices than partitions, or no partition.
    """
    if n_parts < 1:
        raise ConfigError(f"`n_parts` must be at least 1. Received: n_parts={n_parts}")
    if depth < n_parts:
        raise ConfigError(
            f"`n_parts`={n_parts} partitions need as many slices, but {name} has {depth}. "
            f"Use --n_parts={max(depth, 1)} or less, or leave this volume out of the split."
        )
    steps = np.arange(n_parts + 1)
    return steps * (depth // n_parts) if published else steps * depth // n_parts


def locate_slices(flat: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    """Turns positions in the concatenation of all volumes into (volume index, slice index).

    Args:
        flat: (n,) integers in [0, sum(depths)).
        depths: Slices of each volume.

    Returns:
        (n, 2) int64.
    """
    ends = np.cumsum(depths)
    volumes = np.searchsorted(ends, flat, side="right")
    return np.stack([volumes, flat - (ends - np.asarray(depths))[volumes]], axis=1)


def sample_slices(rng: np.random.Generator, depths: Sequence[int], count: int) -> np.ndarray:
    """Draws slices uniformly from all slices of all volumes, with replacement.

    Args:
        rng: Random generator.
        depths: Slices of each volume.
        count: Slices wanted.

    Returns:
        (count, 2) int64: volume index, slice index.

    Raises:
        ConfigError: There are no slices.
    """
    total = int(sum(depths))
    if total == 0:
        raise ConfigError("There are no slices to draw from: the split has no volumes. Choose another split.")
    return locate_slices(rng.integers(total, size=count), depths)


def check_number_of_volumes(wanted: int, found: int) -> None:
    """Raises `ConfigError` if a batch needs more volumes than a split has."""
    if wanted > found:
        raise ConfigError(
            f"The batch needs {wanted} different volumes, but the split has {found}. "
            "Use a smaller --bt_size, a larger --n_parts (fewer volumes per batch) or a larger split."
        )


def sample_partitions(
    rng: np.random.Generator,
    depths: Sequence[int],
    num_volumes: int,
    n_parts: int,
    *,
    published: bool = False,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws volumes without repetition and one slice from each partition of each.

    Args:
        rng: Draws the volumes, then the slices volume by volume.
        depths: Slices of each volume.
        num_volumes: Volumes wanted.
        n_parts: Partitions of a volume.
        published: See `partition_edges`.
        names: What to call the volumes in messages.

    Returns:
        (num_volumes, n_parts, 2) int64: volume index, slice index.

    Raises:
        ConfigError: More volumes wanted than there are, or a volume with fewer slices than partitions
            (whether or not it would be drawn).
    """
    check_number_of_volumes(num_volumes, len(depths))
    shallow = [
        f"{names[index] if names else f'volume {index}'} ({depth})"
        for index, depth in enumerate(depths)
        if depth < n_parts
    ]
    if shallow:
        fewest = max(1, min(depths))
        raise ConfigError(
            f"`n_parts`={n_parts} partitions need as many slices, but some volumes have fewer: "
            f"{', '.join(shallow)}. "
            f"Use --n_parts={fewest} or less, or leave them out of the split."
        )
    volumes = rng.permutation(len(depths))[:num_volumes]
    edges = np.stack([partition_edges(depths[volume], n_parts, published=published) for volume in volumes])
    slices = rng.integers(edges[:, :-1], edges[:, 1:])  # (num_volumes, n_parts)
    return np.stack([np.broadcast_to(volumes[:, None], slices.shape), slices], axis=-1)
