"""From native voxels to the network's grid and back, as the settings of a dataset say.

`grid = "resample"`: an in-plane resolution in mm, then cropped or padded (`preprocess`). `grid = "stretch"`: every
slice gets the size of the network by the nearest pixel, corners on corners, whatever its mm, as in training and
evaluation of CoreCLR (Vepa et al. 2024, arXiv 2411.15763). `grid = "native"`: voxels stay where they are, and every
volume keeps its own shape, for networks that see windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fewslice.data import preprocess
from fewslice.data.resample import resize_nearest

if TYPE_CHECKING:
    from fewslice.settings.datasets import DatasetConfig


def image_to_grid(image: np.ndarray, spacing_mm: Sequence[float], dataset: DatasetConfig) -> np.ndarray:
    """Scales the intensities of a native image and brings it to the network's grid.

    Args:
        image: (X, Y, Z), or (X, Y, Z, C) with several channels, which are scaled together.
        spacing_mm: Native spacing; the first two values count.
        dataset: `intensity`, `percentiles`, `grid`, the size, `target_resolution` and `anti_aliasing` are read.

    Returns:
        (Z, NX, NY) or (Z, NX, NY, C) float32.
    """
    if dataset.intensity == "percentiles":
        image = preprocess.normalise(image, dataset.percentiles)
    if dataset.grid != "resample":
        return np.ascontiguousarray(_stretched(image, dataset), np.float32)
    channels = image[..., np.newaxis] if image.ndim == 3 else image
    options = {"target_resolution": dataset.target_resolution, "size": dataset.size}
    options["anti_aliasing"] = dataset.anti_aliasing
    found = [preprocess.prepare_image(channels[..., c], spacing_mm, **options) for c in range(channels.shape[-1])]
    return found[0] if image.ndim == 3 else np.stack(found, axis=-1)


def label_to_grid(
    label: np.ndarray, spacing_mm: Sequence[float], dataset: DatasetConfig, *, outside: int = 0
) -> np.ndarray:
    """Brings a label or a scribble to the network's grid by the nearest pixel.

    Args:
        label: (X, Y, Z) uint8.
        spacing_mm: Native spacing; the first two values count.
        dataset: `grid`, the size and `target_resolution` are read.
        outside: Value where the network's grid reaches beyond the file's slice.

    Returns:
        (Z, NX, NY) uint8.
    """
    if dataset.grid != "resample":
        return np.ascontiguousarray(_stretched(label, dataset), np.uint8)
    options = {"target_resolution": dataset.target_resolution, "size": dataset.size, "fill": outside}
    return np.ascontiguousarray(preprocess.prepare_label(label, spacing_mm, **options), np.uint8)


def label_from_grid(
    probabilities: np.ndarray, native_shape: Sequence[int], spacing_mm: Sequence[float], dataset: DatasetConfig
) -> np.ndarray:
    """Returns the most probable class of every native voxel.

    Args:
        probabilities: (Z, NX, NY, K) on the network's grid.
        native_shape: (X, Y, Z).
        spacing_mm: Native spacing; the first two values count.
        dataset: `grid`, `target_resolution` and `anti_aliasing` are read.

    Returns:
        (X, Y, Z) uint8. With a stretched or native grid the class is chosen there and goes back by the nearest pixel;
        otherwise the probabilities go back (`preprocess.restore_probabilities`).
    """
    if dataset.grid != "resample":
        label = np.moveaxis(probabilities.argmax(axis=-1).astype(np.uint8), 0, -1)  # (NX, NY, Z)
        return np.ascontiguousarray(resize_nearest(label, tuple(native_shape[:2])))
    options = {"target_resolution": dataset.target_resolution, "anti_aliasing": dataset.anti_aliasing}
    return preprocess.restore_probabilities(probabilities, native_shape, spacing_mm, **options)


def _stretched(array: np.ndarray, dataset: DatasetConfig) -> np.ndarray:
    return np.moveaxis(array if dataset.grid == "native" else resize_nearest(array, dataset.size), 2, 0)
