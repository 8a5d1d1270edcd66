"""A volume: its files (`Case`), its voxels on the grid of its file (`Volume`), the way to the network's grid and back.

`grid = "resample"`: an in-plane resolution in mm, then cropped or padded (`preprocess`). `grid = "stretch"`: every
slice gets the size of the network by the nearest pixel, corners on corners, whatever its mm, as in training and
evaluation of CoreCLR (Vepa et al. 2024, arXiv 2411.15763). For networks that see windows, or slices of any size:
`grid = "whole"`: the resolution, neither cropped nor padded; `grid = "native"`: voxels stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fewslice.augment.interpolate import resize_nearest
from fewslice.core import limits
from fewslice.core.errors import ConfigError
from fewslice.data import preprocess
from fewslice.data.io.geometry import STORED, Axes

if TYPE_CHECKING:
    from fewslice.data.io.nifti import Header
    from fewslice.settings.datasets import DatasetConfig

BY_PIXEL = ("stretch", "native")  # values of `grid` for which millimetres do not count


@dataclass(frozen=True, eq=False)
class Case:
    """One volume of a dataset, before any voxel is read."""

    case_id: str  # unique name of the volume in its dataset, for instance "002_ED"
    patient_id: str  # name of the patient, as in the split lists, for instance "002"
    phase: str  # "ED" or "ES"; "" where a dataset has no phases
    image_path: Path  # file of the image
    label_path: Path | None  # file of the label, or None if the volume has none


@dataclass(frozen=True, eq=False)
class Volume:
    """The voxels of one volume on the grid of its file, with axes (x, y, z); x is a slice's row.

    The axes are the file's, or with the dataset's `orientation` "canonical" turned to R, A, S: the third stays the
    third. Everything here agrees in that but `header`.

    Attributes:
        case: Where the volume came from.
        image: (X, Y, Z) float32, the file's intensities; (X, Y, Z, C) where `num_channels` is more than 1; None where
            only the label was kept (`PreparedVolume.native`).
        label: (X, Y, Z) uint8, classes 0 to num_classes - 1 and num_classes = not annotated, or None if not asked for.
        scribble: (X, Y, Z) uint8, classes and num_classes = not annotated, or None if there is none or it was not
            asked for.
        spacing_mm: Size of a voxel along x, y and z.
        affine: (4, 4) float64, voxel indices to mm. As stored, its scale is not `spacing_mm` in ACDC.
        notes: Text on what was read differently from how it stands in the file.
        header: The file's NIfTI header, which files on the same grid take over; None for other formats.
        axes: How the arrays were turned against the file (`fewslice.data.io.geometry`).
        instances: (X, Y, Z) unsigned, the number of the object at each voxel, 0 outside; None where the files of the
            dataset hold classes (`label_values`), or as `label`.
    """

    case: Case
    image: np.ndarray | None
    label: np.ndarray | None
    scribble: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    notes: tuple[str, ...] = ()
    header: Header | None = None
    axes: Axes = STORED
    instances: np.ndarray | None = None


def with_channel_axis(images: np.ndarray) -> np.ndarray:
    """Returns images as networks take them, (N, H, W, C): those of one channel, (N, H, W), get the axis."""
    return images[..., np.newaxis] if images.ndim == 3 else images


def image_notes(image: np.ndarray, dataset: DatasetConfig) -> list[str]:
    """Returns text on intensities that are scaled otherwise than one would expect, or that show nothing.

    Args:
        image: (X, Y, Z) or (X, Y, Z, C), native.
        dataset: `intensity` and `percentiles` are read.
    """
    is_scaled = dataset.intensity == "percentiles"
    if image.min() == image.max():
        return [f"the image is constant ({image.flat[0]:g})" + " and becomes zero" * is_scaled]
    padding = preprocess.find_padding(image, dataset.percentiles)
    kept = (
        "is left out of the percentiles and becomes 0" if is_scaled else f"stays (`intensity` is {dataset.intensity})"
    )
    return [] if padding is None else [f"{padding}: this is taken for padding and {kept}"]


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
    elif dataset.intensity == "divide_by_255":
        image = np.asarray(image, np.float32) / np.float32(255)
    if dataset.grid in BY_PIXEL:
        return np.ascontiguousarray(_stretched(image, dataset), np.float32)
    channels = image[..., np.newaxis] if image.ndim == 3 else image
    options = {"target_resolution": dataset.target_resolution, "size": _size(image.shape, spacing_mm, dataset)}
    options["anti_aliasing"] = dataset.anti_aliasing
    found = [preprocess.prepare_image(channels[..., c], spacing_mm, **options) for c in range(channels.shape[-1])]
    return found[0] if image.ndim == 3 else np.stack(found, axis=-1)


def refuse_large_grid(volume: Volume, dataset: DatasetConfig) -> None:
    """Raises `ConfigError` where the network's grid, or the matrices of resampling, would take more than the limit."""
    if dataset.grid == "native":
        return
    *native, depth = volume.image.shape[:3]
    need = 4.0 * math.prod(_size(native, volume.spacing_mm, dataset)) * depth * dataset.num_channels
    if dataset.grid not in BY_PIXEL:
        factors = preprocess.resampling_factors(volume.spacing_mm, dataset.target_resolution)
        need += sum(8 * max(n, n * factor) * max(n, n * factor) for n, factor in zip(native, factors, strict=True))
    if found := limits.exceeded(need):
        raise ConfigError(
            f"{volume.case.image_path}: {volume.image.shape[:3]} voxels of {volume.spacing_mm} mm, resampled to "
            f"`target_resolution` {tuple(dataset.target_resolution)} mm and {dataset.size} pixels (`img_size_x`, "
            f"`img_size_y`), need too much memory: {found}. Choose a coarser resolution or fewer pixels."
        )


def label_to_grid(
    label: np.ndarray, spacing_mm: Sequence[float], dataset: DatasetConfig, *, outside: int = 0
) -> np.ndarray:
    """Brings a label or a scribble to the network's grid; where that is stretched, by the nearest pixel.

    Args:
        label: (X, Y, Z) uint8.
        spacing_mm, dataset: As in `image_to_grid`; `label_resampling` is read too.
        outside: Value where the network's grid reaches beyond the file's slice; of scribbles "not annotated".

    Returns:
        (Z, NX, NY) uint8.
    """
    if dataset.grid in BY_PIXEL:
        return np.ascontiguousarray(_stretched(label, dataset), np.uint8)
    options = {"target_resolution": dataset.target_resolution, "size": _size(label.shape, spacing_mm, dataset)}
    options |= {"fill": outside, "rule": dataset.label_resampling}
    return np.ascontiguousarray(preprocess.prepare_label(label, spacing_mm, **options), np.uint8)


def partial_label_to_grid(label: np.ndarray, spacing_mm: Sequence[float], dataset: DatasetConfig) -> np.ndarray:
    """Brings a label to the network's grid that holds num_classes where nothing is annotated.

    A slice without such voxels is treated as in any full label, also where the grid reaches beyond it; of the others
    "not annotated" gives way to any class, as in scribbles. Shapes and dtypes are those of `label_to_grid`.
    """
    unknown = dataset.num_classes
    is_open = (label == unknown).any(axis=(0, 1))
    if not is_open.any():
        return label_to_grid(label, spacing_mm, dataset)
    result = label_to_grid(np.where(label == unknown, np.uint8(0), label), spacing_mm, dataset)
    result[is_open] = label_to_grid(label[..., is_open], spacing_mm, dataset, outside=unknown)
    return result


def label_from_grid(
    probabilities: np.ndarray,
    native_shape: Sequence[int],
    spacing_mm: Sequence[float],
    dataset: DatasetConfig,
    *,
    as_label: bool = True,
) -> np.ndarray:
    """Returns the most probable class of every native voxel.

    Args:
        probabilities: (Z, NX, NY, K) on the network's grid.
        native_shape: (X, Y, Z).
        spacing_mm: Native spacing; the first two values count.
        dataset: `grid`, `target_resolution` and `anti_aliasing` are read.
        as_label: False returns the probabilities themselves.

    Returns:
        (X, Y, Z) uint8. With a stretched or native grid the class is chosen there and goes back by the nearest pixel;
        otherwise the probabilities go back (`preprocess.restore_probabilities`). Or (X, Y, Z, K) float32.
    """
    if dataset.grid in BY_PIXEL:
        chosen = probabilities.argmax(axis=-1).astype(np.uint8) if as_label else np.asarray(probabilities, np.float32)
        return np.ascontiguousarray(resize_nearest(np.moveaxis(chosen, 0, 2), tuple(native_shape[:2])))
    options = {"target_resolution": dataset.target_resolution, "anti_aliasing": dataset.anti_aliasing}
    return preprocess.restore_probabilities(probabilities, native_shape, spacing_mm, **options, as_label=as_label)


def _size(shape: Sequence[int], spacing_mm: Sequence[float], dataset: DatasetConfig) -> Sequence[int]:
    """Returns the rows and columns of the network's grid of a (X, Y, ...) volume, unless that is native."""
    if dataset.grid != "whole":
        return dataset.size
    factors = preprocess.resampling_factors(spacing_mm, dataset.target_resolution)
    return [preprocess.rescaled_size(n, factor) for n, factor in zip(shape, factors, strict=False)]


def _stretched(array: np.ndarray, dataset: DatasetConfig) -> np.ndarray:
    return np.moveaxis(array if dataset.grid == "native" else resize_nearest(array, dataset.size), 2, 0)
