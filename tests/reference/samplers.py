"""Plain loops over the published sampler and stitcher, accidents included. Imports nothing of ours."""

from __future__ import annotations

import random


def published_partition_sampler(
    depths: list[int], rows: int, num_volumes: int, n_parts: int, draw: random.Random
) -> tuple[list[tuple[int, int] | None], list[int]]:
    """The published sampler: (volume, slice) or None (a black image) for each row; the volumes drawn."""
    volumes = draw.sample(range(len(depths)), num_volumes)
    out: list[tuple[int, int] | None] = [None] * rows
    filled = 0
    for volume in volumes:
        width = depths[volume] // n_parts
        for part in range(n_parts):
            if filled + part >= rows:
                break
            out[filled + part] = (volume, draw.sample(range(part * width, (part + 1) * width), 1)[0])
        filled += n_parts
        if filled >= rows:
            break
    return out, volumes


def published_stitch(batch_size: int, n_parts: int, num_sources: int) -> list[tuple[int, int] | None]:
    """The published stitcher: (source, row in it) or None (a black image) for each row of the batch."""
    total = 4 * batch_size if n_parts == 4 else 5 * batch_size + 4
    out: list[tuple[int, int] | None] = [None] * total
    start, taken = 0, 0
    while start + num_sources * n_parts < total:
        for source in range(num_sources):
            for part in range(n_parts):
                out[start + source * n_parts + part] = (source, taken + part)
        start += num_sources * n_parts
        taken += n_parts
    return out


def covering_partitions(depth: int, n_parts: int) -> list[list[int]]:
    """Partitions that cover all slices: slice s is in the last k with floor(k * depth / n_parts) <= s."""
    parts: list[list[int]] = [[] for _ in range(n_parts)]
    for index in range(depth):
        part = max(k for k in range(n_parts) if (k * depth) // n_parts <= index)
        parts[part].append(index)
    return parts


def published_edges(depth: int, n_parts: int) -> list[int]:
    """Where the published partitions begin and end: floor(depth / n_parts) slices each, the rest is left out."""
    return [part * (depth // n_parts) for part in range(n_parts + 1)]
