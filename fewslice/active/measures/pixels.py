"""Pixels of all units side by side: one row per pixel, so that a few pixels of every unit are read quickly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewslice.augment.interpolate import resize_nearest
from fewslice.core import files, later, rowfile

_BLOCK_BYTES = 1 << 26  # units are put in place in blocks of so many bytes


@dataclasses.dataclass(frozen=True, eq=False)
class PixelStore:
    """Images with the pixels first and the units last.

    Attributes:
        array: (P, N) numbers, maybe memory-mapped; P runs over rows, columns, channels.
        shape: (H, W) or (H, W, channels) of an image.
    """

    array: np.ndarray
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.array.shape[1]


def as_pixel_store(pixels: np.ndarray | PixelStore) -> PixelStore:
    """Returns images (N, H, W) or (N, H, W, channels) as a store without copying them; a store as it is.

    Single pixels of unit-major images lie far apart: for large pools write a store and read that.
    """
    if isinstance(pixels, PixelStore):
        return pixels
    return PixelStore(pixels.reshape(len(pixels), -1).T, pixels.shape[1:])


def stored_pixels(path: Path, images: Sequence[np.ndarray], shape: tuple[int, int]) -> PixelStore:
    """Returns a memory-mapped float16 store of images; writes it if it is not there, damaged or without its .json.

    In memory is one block of 64 MiB.

    Args:
        path: The file, ending in .npy; complete or absent.
        images: (H, W, channels) of each unit.
        shape: Rows and columns to give them by the nearest pixel.

    Raises:
        FewSliceError: the file system refuses.
    """
    channels, count = images[0].shape[2], len(images)
    image_shape = (*shape, channels) if channels > 1 else tuple(shape)
    grid = (int(np.prod(image_shape)), count)
    key = {"pixels": path.stem, "grid": list(grid)}
    array = rowfile.open_rows(path, key)
    if array is not None:
        return PixelStore(array, image_shape)
    size = max(1, _BLOCK_BYTES // (2 * grid[0]))
    with files.atomic_path(path) as temporary:
        array = rowfile.new_map(temporary, np.float16, grid)
        for start in range(0, count, size):
            units = range(start, min(start + size, count))
            rows = [resize_nearest(images[unit], shape).astype(np.float16).ravel() for unit in units]
            array[:, start : start + size] = np.stack(rows, axis=1)
        array.flush()
        later.settle()
        path.with_suffix(".json").unlink(missing_ok=True)
        checksum = rowfile.hash_of(array).hexdigest()
        del array
    files.write_json(path.with_suffix(".json"), {**key, rowfile.CHECKSUM: checksum})
    return PixelStore(np.load(path, mmap_mode="r", allow_pickle=False), image_shape)
