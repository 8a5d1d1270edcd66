"""How large the prepared slices of a new dataset must be, so that the crop around the centre loses no foreground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fewslice.data import preprocess
from fewslice.settings.datasets import STRIDE, DatasetConfig

LARGEST_SIDE = 320  # pixels; memory and time of a training step grow with the square


@dataclass(frozen=True, eq=False)
class Footprint:
    """Foreground mask of one volume, summed over its slices."""

    counts: np.ndarray  # (X', Y') unsigned, foreground voxels above each pixel of the rectangle around all of them
    start: tuple[int, int]  # first row and column of that rectangle
    shape: tuple[int, int]  # (X, Y) pixels of a slice of the file
    spacing_mm: tuple[float, float]  # size of a pixel of the file


def footprint(label: np.ndarray, spacing_mm: Sequence[float]) -> Footprint | None:
    """Returns where the foreground of a (X, Y, Z) label lies, or None if it holds nothing but background (0)."""
    counts = np.stack([np.count_nonzero(row, axis=1) for row in label])  # (X, Y), row by row to spare memory
    counts = counts.astype(np.min_scalar_type(label.shape[2]))
    rows, columns = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    if not rows.size:
        return None
    part = counts[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Footprint(part, (int(rows[0]), int(columns[0])), label.shape[:2], tuple(spacing_mm[:2]))


def needed_side(axis: int, resolution_mm: float, footprints: Sequence[Footprint]) -> int:
    """Returns the smallest multiple of 32 pixels along an axis whose crop loses no foreground, without a limit."""
    side = STRIDE
    for item in footprints:
        while not _kept(item, axis, resolution_mm, side).all():
            side += STRIDE
    return side


def share_lost(item: Footprint, resolution_mm: Sequence[float], size: Sequence[int]) -> float:
    """Returns which share of a volume's foreground voxels lies outside the crop of `size` pixels, 0 to 1."""
    rows, columns = (_kept(item, axis, resolution_mm[axis], size[axis]) for axis in (0, 1))
    return 1.0 - float(item.counts[rows][:, columns].sum(dtype=np.int64)) / float(item.counts.sum(dtype=np.int64))


def crop_text(dataset: DatasetConfig, footprints: Mapping[str, Footprint]) -> str:
    """Returns one line about what the crop loses: nothing, or the largest share, whose, and the remedy.

    `footprints` has case id -> footprint of every volume that holds foreground.
    """
    resolution, size = dataset.target_resolution, dataset.size
    shares = {case_id: share_lost(item, resolution, size) for case_id, item in footprints.items()}
    lossy = [case_id for case_id, share in shares.items() if share > 0]
    crop = f"the crop of {size[0]} x {size[1]} pixels"
    if not lossy:
        return f"No foreground lies outside {crop} in any of {len(shares)} labelled volumes."
    worst = max(lossy, key=shares.__getitem__)
    needed = [needed_side(axis, resolution[axis], list(footprints.values())) for axis in (0, 1)]
    larger = [max(pair) for pair in zip(needed, size, strict=True)]
    coarse = [
        mm if enough <= side else math.ceil(100 * mm * enough / side) / 100
        for mm, enough, side in zip(resolution, needed, size, strict=True)
    ]
    return (
        f"ATTENTION: {crop} cuts off foreground in {len(lossy)} of {len(shares)} labelled volumes, at most "
        f"{shares[worst]:.2%} of its voxels (in {worst}). Remedy: in init_{dataset.name}.py set "
        f"img_size_x = {larger[0]}, img_size_y = {larger[1]} (needs more memory), "
        f"or a coarser target_resolution = ({coarse[0]:g}, {coarse[1]:g})."
    )


def _kept(item: Footprint, axis: int, resolution_mm: float, side: int) -> np.ndarray:
    """Returns which rows (or columns) of the footprint have their centre within the crop, as bool."""
    size = item.shape[axis]
    rescaled = preprocess.rescaled_size(size, item.spacing_mm[axis] / resolution_mm)
    source, _ = preprocess.overlap(rescaled, side)
    centres = (item.start[axis] + np.arange(item.counts.shape[axis]) + 0.5) * rescaled / size
    return (centres >= source.start) & (centres < source.stop)
