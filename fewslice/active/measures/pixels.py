"""Pixels of all units side by side: one row per pixel, so that a few pixels of every unit are read quickly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fewslice.augment.interpolate import nearest_sources, resize_nearest
from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError

__all__ = [
    "PixelStore",
    "as_pixel_store",
    "nearest_sources",
    "open_pixel_store",
    "pixel_rows",
    "resize_nearest",
    "write_pixel_store",
]

DTYPES = ("uint8", "float16", "float32")
_BLOCK_BYTES = 1 << 26  # units are put in place in blocks of so many bytes


@dataclasses.dataclass(frozen=True, eq=False)
class PixelStore:
    """Images with the pixels first and the units last.

    Attributes:
        array: (P, N) uint8, float16 or float32, maybe memory-mapped; P runs over rows, columns, channels.
        step: What a difference of 1 in `array` means in intensity; 1 / 255 for the unit interval stored as uint8.
        shape: (H, W) or (H, W, channels) of an image.
    """

    array: np.ndarray
    step: float
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.array.shape[1]


def as_pixel_store(pixels: np.ndarray | PixelStore) -> PixelStore:
    """Returns images (N, H, W) or (N, H, W, channels) as a store without copying them; a store as it is.

    Single pixels of unit-major images lie far apart: for large pools write a store and read that.
    """
    if isinstance(pixels, PixelStore):
        return pixels
    return PixelStore(pixels.reshape(len(pixels), -1).T, 1.0, pixels.shape[1:])


def pixel_rows(pixels: np.ndarray | PixelStore) -> np.ndarray:
    """Returns (N, P) pixels of each unit as stored, without copying; the step is left out as it ranks nothing."""
    return as_pixel_store(pixels).array.T


def write_pixel_store(
    path: str | os.PathLike,
    images: Iterable[np.ndarray],
    count: int,
    *,
    shape: tuple[int, int] = (256, 256),
    dtype: str = "uint8",
) -> PixelStore:
    """Writes images to `path` (.npy, with a .json beside it) and returns them memory-mapped.

    Args:
        path: The file, ending in .npy.
        images: `count` images (H, W) or (H, W, channels), resized to `shape` by the nearest pixel. For uint8 they are
            intensities from 0 to 1, which are rounded to 255ths; other types keep them as they are.
        count: How many.
        shape: Height and width in the store.
        dtype: "uint8", "float16" or "float32".

    Raises:
        ConfigError: unknown dtype; an image outside 0 to 1 for uint8; another number of images, or of channels.

    Notes:
        In memory is one block of 64 MiB. A store that was there before is gone only when the new one is complete, and a
        kill between leaves none, not a wrong one.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"A pixel store holds {', '.join(DTYPES)}. Received: {dtype}")
    path, iterator = Path(path), iter(images)
    step = 1 / 255 if dtype == "uint8" else 1.0
    full_shape, array, start = tuple(shape), None, 0
    with files.atomic_path(path) as temporary:
        while start < count:
            pixels = int(np.prod(full_shape))
            size = max(1, _BLOCK_BYTES // (pixels * np.dtype(dtype).itemsize))
            block = _next_block(iterator, min(size, count - start), shape, dtype)
            if array is None:
                full_shape = block.shape[1:]
                grid = (int(np.prod(full_shape)), count)
                array = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), grid)
            if block.shape[1:] != full_shape:
                raise ConfigError(f"The images have shapes {full_shape} and {block.shape[1:]}; they must be alike.")
            array[:, start : start + len(block)] = block.reshape(len(block), -1).T
            start += len(block)
        if array is None or next(iterator, None) is not None:
            raise ConfigError(f"The number of images is not the {count} that were announced.")
        array.flush()
        del array
        _sidecar(path).unlink(missing_ok=True)
    files.write_json(_sidecar(path), {"step": step, "shape": full_shape, "count": count, "dtype": dtype})
    return open_pixel_store(path)


def open_pixel_store(path: str | os.PathLike) -> PixelStore:
    """Returns a store that was written, memory-mapped.

    Raises:
        DataError: it is missing, incomplete or damaged.
    """
    remedy = "Delete it and repeat the command that writes it."
    try:
        facts = files.read_json(_sidecar(path))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(path, expected="a pixel store", found=str(error), remedy=remedy) from error
    expected = (int(np.prod(facts["shape"])), facts["count"])
    if array.shape != expected or array.dtype != facts["dtype"]:
        found = f"{array.dtype} {array.shape}"
        raise DataError(path, expected=f"{facts['dtype']} {expected}", found=found, remedy=remedy)
    return PixelStore(array, facts["step"], tuple(facts["shape"]))


def _sidecar(path: str | os.PathLike) -> Path:
    return Path(path).with_suffix(".json")


def _next_block(iterator: Iterable[np.ndarray], size: int, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Returns the next `size` images (size, H, W, ...), resized and converted."""
    found = []
    for image in iterator:
        image = resize_nearest(np.asarray(image), shape)
        if dtype == "uint8":
            if not (image.min() >= 0 and image.max() <= 1):
                raise ConfigError(
                    f"A uint8 pixel store needs intensities from 0 to 1. Received: {image.min()} to {image.max()}. "
                    "Use float16 or float32."
                )
            image = np.round(image.astype(np.float64) * 255)
        found.append(image.astype(dtype))
        if len(found) == size:
            break
    if len({image.shape for image in found}) != 1 or len(found) < size:
        raise ConfigError("The images are fewer than announced, or differ in their number of channels.")
    return np.stack(found)
